// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

// Tells that an imaging study can be looked at, or has changed since that was told.

const date = (da) => da && `${da.slice(0, 4)}-${da.slice(4, 6)}-${da.slice(6, 8)}`;
const time = (tm) => tm && `${tm.slice(0, 2)}:${tm.slice(2, 4)}:${tm.slice(4, 6) || "00"}`;
const person = (pn) => {
  const [last, first, middle] = (pn ?? "").split("^").map((part) => part || undefined);
  return { FirstName: first, MiddleName: middle, LastName: last };
};
const sexes = { F: "Female", M: "Male", O: "Other" };

export default function ({ change, fetched }) {
  const study = fetched.study.MainDicomTags;
  const patient = fetched.patient.MainDicomTags;
  const series = fetched.series.filter((s) => s !== null);

  return {
    Meta: {
      DataModel: "Imaging",
      EventType: change.op === "created" ? "StudyAvailable" : "StudyChanged",
      EventDateTime: change.time,
    },
    Patient: {
      Identifiers: [{ ID: patient.PatientID, IDType: "MR" }],
      Demographics: { ...person(patient.PatientName), DOB: date(patient.PatientBirthDate), Sex: sexes[patient.PatientSex] ?? "Unknown" },
    },
    Study: {
      StudyInstanceUID: study.StudyInstanceUID,
      AccessionNumber: study.AccessionNumber,
      Description: study.StudyDescription,
      DateTime: study.StudyTime ? `${date(study.StudyDate)}T${time(study.StudyTime)}` : date(study.StudyDate),
      ReferringProvider: person(study.ReferringPhysicianName),
      Modalities: [...new Set(series.map((s) => s.MainDicomTags.Modality))].sort(),
      Instances: fetched.statistics?.CountInstances,
      ViewerPath: `/app/explorer.html#study?uuid=${change.id}`,
    },
  };
}
