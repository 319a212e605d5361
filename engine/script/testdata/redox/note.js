// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

import { identifiers, Notes } from "rounds/redox";

/** @type {import("rounds").Mapping} */
const map = ({ change, fetched }) => {
  const { data } = change;
  const parts = {
    Meta: { EventDateTime: change.time },
    Patient: { Identifiers: identifiers({ MR: fetched.patient.id }), Demographics: {} },
  };
  /** @type {import("rounds/redox").Note} */
  const note = {
    DocumentID: change.id,
    DocumentType: data.type,
    ContentType: "Plain Text",
    Provider: { ID: data.author, IDType: "NPI" },
    Status: data.signed ? "Authenticated" : "In progress",
  };
  if (change.op === "deleted") return Notes.Delete({ ...parts, Note: note });
  if (!data.replaces) return Notes.New({ ...parts, Note: { ...note, FileContents: data.text } });
  return Notes.Replace({ ...parts, Note: { ...note, FileContents: data.text, OriginalDocumentID: data.replaces } });
};

export default map;
