// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

// The names of fields and components, after chapters 2, 3 and 10 of HL7 v2.5.1: name, number, and the type where it is one that is
// written as an object or as a time. They stay text that is searched, as all is evaluated for each record and few of them are used.

const segments = {
  MSH: " sendingApplication:3:HD sendingFacility:4:HD receivingApplication:5:HD receivingFacility:6:HD time:7:TS security:8: " +
    "type:9:MSG controlID:10: processingID:11: version:12: sequenceNumber:13: acceptAck:15: applicationAck:16: country:17: " +
    "charset:18: language:19:CE profile:21:EI ",
  EVN: " event:1: recorded:2:TS planned:3:TS reason:4: operator:5:XCN occurred:6:TS facility:7:HD ",
  PID: " setID:1: patientID:2:CX identifiers:3:CX alternateIDs:4:CX name:5:XPN motherMaidenName:6:XPN birthDate:7:DT sex:8: " +
    "alias:9:XPN race:10:CE address:11:XAD county:12: homePhone:13:XTN businessPhone:14:XTN language:15:CE " +
    "maritalStatus:16:CE religion:17:CE account:18:CX ssn:19: ethnicGroup:22:CE birthPlace:23: multipleBirth:24: " +
    "birthOrder:25: citizenship:26:CE nationality:28:CE died:29:TS deceased:30: ",
  PD1: " primaryFacility:3:XON primaryCareProvider:4:XCN ",
  NK1: " setID:1: name:2:XPN relationship:3:CE address:4:XAD phone:5:XTN businessPhone:6:XTN role:7:CE ",
  PV1: " setID:1: patientClass:2: location:3:PL admissionType:4: preadmitNumber:5:CX priorLocation:6:PL attendingDoctor:7:XCN " +
    "referringDoctor:8:XCN consultingDoctor:9:XCN hospitalService:10: admitSource:14: admittingDoctor:17:XCN " +
    "patientType:18: visitNumber:19:CX dischargeDisposition:36: dischargedTo:37: admitted:44:TS discharged:45:TS " +
    "alternateVisitID:50:CX ",
  MRG: " identifiers:1:CX alternateIDs:2:CX account:3:CX patientID:4:CX visitNumber:5:CX alternateVisitID:6:CX name:7:XPN ",
  SCH: " placerID:1:EI fillerID:2:EI occurrence:3: placerGroup:4:EI scheduleID:5:CE eventReason:6:CE reason:7:CE type:8:CE " +
    "duration:9: durationUnits:10:CE timing:11:TQ placerContact:12:XCN placerPhone:13:XTN placerAddress:14:XAD " +
    "placerLocation:15:PL fillerContact:16:XCN fillerPhone:17:XTN fillerAddress:18:XAD fillerLocation:19:PL " +
    "enteredBy:20:XCN enteredByPhone:21:XTN enteredByLocation:22:PL parentPlacerID:23:EI parentFillerID:24:EI status:25:CE " +
    "placerOrder:26:EI fillerOrder:27:EI ",
  RGS: " setID:1: action:2: groupID:3:CE ",
  AIS: " setID:1: action:2: service:3:CE start:4:TS startOffset:5: startOffsetUnits:6:CE duration:7: durationUnits:8:CE " +
    "substitution:9: status:10:CE ",
  AIG: " setID:1: action:2: resource:3:CE type:4:CE group:5:CE quantity:6: quantityUnits:7:CE start:8:TS startOffset:9: " +
    "startOffsetUnits:10:CE duration:11: durationUnits:12:CE substitution:13: status:14:CE ",
  AIL: " setID:1: action:2: location:3:PL type:4:CE group:5:CE start:6:TS startOffset:7: startOffsetUnits:8:CE duration:9: " +
    "durationUnits:10:CE substitution:11: status:12:CE ",
  AIP: " setID:1: action:2: person:3:XCN role:4:CE group:5:CE start:6:TS startOffset:7: startOffsetUnits:8:CE duration:9: " +
    "durationUnits:10:CE substitution:11: status:12:CE ",
  NTE: " setID:1: source:2: comment:3:FT type:4:CE ",
  AL1: " setID:1: type:2:CE allergen:3:CE severity:4:CE reaction:5: identified:6:DT ",
  DG1: " setID:1: codingMethod:2: diagnosis:3:CE description:4: time:5:TS type:6: ",
  OBX: " setID:1: valueType:2: observation:3:CE subID:4: value:5: units:6:CE range:7: flags:8: status:11: time:14:TS ",
  GT1: " setID:1: ",
  IN1: " setID:1: ",
};

const types = {
  CE: " code:1: text:2: system:3: alternateCode:4: alternateText:5: alternateSystem:6: ",
  CX: " id:1: checkDigit:2: checkDigitScheme:3: authority:4:HD type:5: facility:6:HD effective:7:DT expires:8:DT ",
  EI: " id:1: namespace:2: universalID:3: universalIDType:4: ",
  HD: " namespace:1: universalID:2: universalIDType:3: ",
  MSG: " code:1: event:2: structure:3: ",
  PL: " pointOfCare:1: room:2: bed:3: facility:4:HD status:5: type:6: building:7: floor:8: description:9: ",
  TQ: " quantity:1: interval:2: duration:3: start:4:TS end:5:TS priority:6: ",
  XAD: " street:1: other:2: city:3: state:4: zip:5: country:6: type:7: otherGeographic:8: county:9: ",
  XCN: " id:1: family:2: given:3: middle:4: suffix:5: prefix:6: degree:7: source:8: authority:9:HD nameType:10: idType:13: " +
    "facility:14:HD ",
  XON: " name:1: typeCode:2: id:3: authority:6:HD idType:7: ",
  XPN: " family:1: given:2: middle:3: suffix:4: prefix:5: degree:6: type:7: ",
  XTN: " number:1: use:2: equipment:3: email:4: countryCode:5: areaCode:6: localNumber:7: extension:8: text:9: ",
};

/** The names of the fields of a segment, or the components of a type; "" for one that has no names here. */
export const fieldsOf = (segment) => segments[segment] ?? "";
export const componentsOf = (type) => types[type] ?? "";

/** Number and type of the field that a key means, which is a name or a number; number 0 if it means none. */
export function find(names, key) {
  let number = Number(key);
  let at = -1;
  if (number >= 1) {
    if (!Number.isInteger(number) || number > 999 || String(number) !== key) return { number: 0 };
    at = names.indexOf(":" + key + ":");
  } else {
    const name = key.includes(":") ? -1 : names.indexOf(" " + key + ":");
    if (name < 0) return { number: 0 };
    at = name + key.length + 1;
    number = Number(names.slice(at + 1, names.indexOf(":", at + 1)));
  }
  return { number, type: at < 0 ? "" : names.slice(names.indexOf(":", at + 1) + 1, names.indexOf(" ", at)) };
}

/** The names alone, for a message. */
export const listed = (names) => names.trim().replace(/:\d+:\w*/g, "").replaceAll(" ", ", ");
