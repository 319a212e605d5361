// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

// The names of fields and components, after chapters 2, 3 and 10 of HL7 v2.5.1: number, name, and the type where it is one that is
// written as an object or as a time. They are read when they are used: a script uses few of them, and all is evaluated for each record.

const segments = {
  MSH: "3 sendingApplication HD,4 sendingFacility HD,5 receivingApplication HD,6 receivingFacility HD,7 time TS,8 security," +
    "9 type MSG,10 controlID,11 processingID,12 version,13 sequenceNumber,15 acceptAck,16 applicationAck,17 country,18 charset," +
    "19 language CE,21 profile EI",
  EVN: "1 event,2 recorded TS,3 planned TS,4 reason,5 operator XCN,6 occurred TS,7 facility HD",
  PID: "1 setID,2 patientID CX,3 identifiers CX,4 alternateIDs CX,5 name XPN,6 motherMaidenName XPN,7 birthDate DT,8 sex,9 alias XPN," +
    "10 race CE,11 address XAD,12 county,13 homePhone XTN,14 businessPhone XTN,15 language CE,16 maritalStatus CE,17 religion CE," +
    "18 account CX,19 ssn,22 ethnicGroup CE,23 birthPlace,24 multipleBirth,25 birthOrder,26 citizenship CE,28 nationality CE," +
    "29 died TS,30 deceased",
  PD1: "3 primaryFacility XON,4 primaryCareProvider XCN",
  NK1: "1 setID,2 name XPN,3 relationship CE,4 address XAD,5 phone XTN,6 businessPhone XTN,7 role CE",
  PV1: "1 setID,2 patientClass,3 location PL,4 admissionType,5 preadmitNumber CX,6 priorLocation PL,7 attendingDoctor XCN," +
    "8 referringDoctor XCN,9 consultingDoctor XCN,10 hospitalService,14 admitSource,17 admittingDoctor XCN,18 patientType," +
    "19 visitNumber CX,36 dischargeDisposition,37 dischargedTo,44 admitted TS,45 discharged TS,50 alternateVisitID CX",
  MRG: "1 identifiers CX,2 alternateIDs CX,3 account CX,4 patientID CX,5 visitNumber CX,6 alternateVisitID CX,7 name XPN",
  SCH: "1 placerID EI,2 fillerID EI,3 occurrence,4 placerGroup EI,5 scheduleID CE,6 eventReason CE,7 reason CE,8 type CE,9 duration," +
    "10 durationUnits CE,11 timing TQ,12 placerContact XCN,13 placerPhone XTN,14 placerAddress XAD,15 placerLocation PL," +
    "16 fillerContact XCN,17 fillerPhone XTN,18 fillerAddress XAD,19 fillerLocation PL,20 enteredBy XCN,21 enteredByPhone XTN," +
    "22 enteredByLocation PL,23 parentPlacerID EI,24 parentFillerID EI,25 status CE,26 placerOrder EI,27 fillerOrder EI",
  RGS: "1 setID,2 action,3 groupID CE",
  AIS: "1 setID,2 action,3 service CE,4 start TS,5 startOffset,6 startOffsetUnits CE,7 duration,8 durationUnits CE,9 substitution," +
    "10 status CE",
  AIG: "1 setID,2 action,3 resource CE,4 type CE,5 group CE,6 quantity,7 quantityUnits CE,8 start TS,9 startOffset," +
    "10 startOffsetUnits CE,11 duration,12 durationUnits CE,13 substitution,14 status CE",
  AIL: "1 setID,2 action,3 location PL,4 type CE,5 group CE,6 start TS,7 startOffset,8 startOffsetUnits CE,9 duration," +
    "10 durationUnits CE,11 substitution,12 status CE",
  AIP: "1 setID,2 action,3 person XCN,4 role CE,5 group CE,6 start TS,7 startOffset,8 startOffsetUnits CE,9 duration," +
    "10 durationUnits CE,11 substitution,12 status CE",
  NTE: "1 setID,2 source,3 comment FT,4 type CE",
  AL1: "1 setID,2 type CE,3 allergen CE,4 severity CE,5 reaction,6 identified DT",
  DG1: "1 setID,2 codingMethod,3 diagnosis CE,4 description,5 time TS,6 type",
  OBX: "1 setID,2 valueType,3 observation CE,4 subID,5 value,6 units CE,7 range,8 flags,11 status,14 time TS",
  GT1: "1 setID",
  IN1: "1 setID",
};

const types = {
  CE: "1 code,2 text,3 system,4 alternateCode,5 alternateText,6 alternateSystem",
  CX: "1 id,2 checkDigit,3 checkDigitScheme,4 authority HD,5 type,6 facility HD,7 effective DT,8 expires DT",
  EI: "1 id,2 namespace,3 universalID,4 universalIDType",
  HD: "1 namespace,2 universalID,3 universalIDType",
  MSG: "1 code,2 event,3 structure",
  PL: "1 pointOfCare,2 room,3 bed,4 facility HD,5 status,6 type,7 building,8 floor,9 description",
  TQ: "1 quantity,2 interval,3 duration,4 start TS,5 end TS,6 priority",
  XAD: "1 street,2 other,3 city,4 state,5 zip,6 country,7 type,8 otherGeographic,9 county",
  XCN: "1 id,2 family,3 given,4 middle,5 suffix,6 prefix,7 degree,8 source,9 authority HD,10 nameType,13 idType,14 facility HD",
  XON: "1 name,2 typeCode,3 id,6 authority HD,7 idType",
  XPN: "1 family,2 given,3 middle,4 suffix,5 prefix,6 degree,7 type",
  XTN: "1 number,2 use,3 equipment,4 email,5 countryCode,6 areaCode,7 localNumber,8 extension,9 text",
};

/** Numbers and types of the fields of a segment, or the components of a type, by name; empty for one that has no names here. */
export const fieldsOf = (segment) => table(segments, segment);
export const componentsOf = (type) => table(types, type);

function table(all, name) {
  const found = {};
  if (Object.hasOwn(all, name)) {
    for (const line of all[name].split(",")) {
      const [number, called, type] = line.split(" ");
      found[called] = { number: Number(number), type };
    }
  }
  return found;
}
