// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

import type { Sex } from "rounds/redox";

export function sex(code: string): Sex {
  switch (code?.toUpperCase()) {
    case "F":
      return "Female";
    case "M":
      return "Male";
    case "X":
      return "Nonbinary";
    default:
      return "Unknown";
  }
}
