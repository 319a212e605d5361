// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

import { build, object, patient, visit } from "rounds/redox/message";

/** Builders of one event type each. */
export const Notes = {
  New: (parts) => message("New", parts),
  Replace: (parts) => message("Replace", parts),
  Delete: (parts) => message("Delete", parts),
};

function message(eventType, parts) {
  return build("Notes", eventType, parts, ["Patient", "Visit", "Orders", "Note"], (where, { Patient, Visit, Note }) => {
    patient(where, Patient);
    visit(where, Visit);
    object(where + "Note", Note, ["ContentType", "DocumentID", "DocumentType", "Provider"]);
    object(where + "Note.Provider", Note.Provider);
  });
}
