// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

// One order or several of one sheet are mapped the same way.
export { default } from "./order";
