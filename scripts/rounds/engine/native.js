// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

// What the library calls the engine by. It is evaluated before all else of a script, and takes the function away from the
// global object: what native("fail", text) is given is shown in logs, so no script may call it.

export const native = globalThis.__rounds;

delete globalThis.__rounds;
