// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

// Gives a Date whose time zone is UTC, made of the engine's own, whose zone is the host's. format(date, layout) writes a
// date in UTC.
(function (Host, format) {
  const proto = Host.prototype;
  for (const part of ["FullYear", "Month", "Date", "Hours", "Minutes", "Seconds", "Milliseconds"]) {
    proto["get" + part] = proto["getUTC" + part];
    proto["set" + part] = proto["setUTC" + part];
  }
  proto.getDay = proto.getUTCDay;
  proto.getTimezoneOffset = function () {
    return isNaN(this.getTime()) ? NaN : 0;
  };
  const layouts = {
    toString: "Mon Jan 02 2006 15:04:05 GMT-0700 (MST)",
    toDateString: "Mon Jan 02 2006",
    toTimeString: "15:04:05 GMT-0700 (MST)",
    toLocaleString: "01/02/2006, 15:04:05",
    toLocaleDateString: "01/02/2006",
    toLocaleTimeString: "15:04:05",
  };
  for (const name of Object.keys(layouts)) {
    proto[name] = function () {
      return format(this, layouts[name]);
    };
  }

  // A text without a zone is one that can take one. Before the text, "GMT" gives way to a zone in it; after a time in
  // ISO's form, "Z" makes it invalid if it has one already.
  function parse(text) {
    text = String(text);
    if (isNaN(Host.parse(text))) return NaN;
    for (const candidate of ["GMT " + text, text + "Z"]) {
      const time = Host.parse(candidate);
      if (!isNaN(time)) return time;
    }
    return Host.parse(text);
  }

  function primitive(value) {
    if (value === null || typeof value !== "object") return value;
    const plain = value.valueOf();
    return plain !== null && typeof plain === "object" ? String(value) : plain;
  }

  function Date(...parts) {
    if (new.target === undefined) return new Host().toString();
    if (parts.length > 1) {
      parts = [Host.UTC(...parts)];
    } else if (parts.length === 1 && !(parts[0] instanceof Host)) {
      const value = primitive(parts[0]);
      parts = [typeof value === "string" ? parse(value) : value];
    }
    return Reflect.construct(Host, parts, new.target);
  }
  Date.prototype = proto;
  Object.defineProperty(Date, "length", { value: 7 });
  for (const [name, value] of Object.entries({ now: Host.now, UTC: Host.UTC, parse })) {
    Object.defineProperty(Date, name, { value, writable: true, configurable: true });
  }
  proto.constructor = Date;
  return Date;
});
