// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package script_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"runtime/debug"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/rounds-engine/rounds/engine/record"
	"github.com/rounds-engine/rounds/engine/script"
	"github.com/rounds-engine/rounds/sdk"
)

// reading are mappings that leave the record as it is, and do with it all that a script can. d is change.data, m its member m, l its
// member l, and keys and values are what of any value can be listed.
var reading = []string{
	`d`, `({ ...d })`, `[d, d]`, `({ change, fetched })`, `change`, `fetched`, `({ ...change })`, `({ ...fetched })`, `context`, `({ ...context })`,
	`Object.keys(change).concat(Object.keys(fetched), Object.keys(context), Object.keys(record))`,
	`JSON.stringify(record)`, `JSON.stringify(context)`, `JSON.stringify(d, null, 1)`, `JSON.stringify(d, (k, v) => typeof v === "number" ? -v : v)`,
	`JSON.stringify(d, ["m", "a", "1"])`, `JSON.parse(JSON.stringify(d))`, `JSON.parse("[1,2]", (k, v) => k === "0" ? d : v)`,
	`[m === d?.m, l === d?.l, l?.[0] === d?.l?.[0], change.data === d, fetched.patient === fetched.patient, record.change === change]`,
	`[context.previous === context.previous, context.changed === context.changed, context.tables === context.tables]`,
	`[Object.is(m, d?.m), new Set([m, d?.m]).size, new Map([[m, 1]]).get(d?.m), new WeakMap(m ? [[m, 2]] : []).get(m), [m].includes(d?.m), [l].indexOf(l)]`,
	`['a":', 'a"', '"', 'm":{"x', 'a":1,"m'].map((k) => [d?.[k], k in Object(d)])`, `keys(d)`, `keys(m)`, `values(d)`, `Object.entries(m ?? {})`, `Object.fromEntries(Object.entries(m ?? {}).reverse())`,
	`(() => { const list = []; for (const k in d) list.push(k, d[k]); return list; })()`,
	`(() => { const list = []; for (const k in m) { list.push(k); if (list.length > 2) break; } return list; })()`,
	`(() => { const { a, ["m"]: b, ...rest } = d ?? {}; return [a, b, rest, Object.keys(rest)]; })()`,
	`(() => { const { a = 5, m: { x = 6, ...deep } = {}, l: list = [] } = Object(d); const [first = 7, ...others] = list; return [a, x, deep, first, others]; })()`,
	`(() => { const { 0: zero, 1: one, length } = Object(d); return [zero, one, length]; })()`,
	`Object.assign([9, 9, 9], d)`, `[..."ab"].map((k) => d?.[k])`,
	`["a", "b", "m", "l", "", "1", 1, 10, -1, 1.5, "01", "constructor", "toString", "x", null, undefined, true].map((k) => [k in Object(d), Object.hasOwn(Object(d), k), d?.[k] === undefined, Object(d).hasOwnProperty(k)])`,
	`[1, -0, 0, 4294967294, 4294967295, 4294967296, 1e21].map((k) => d?.[k])`,
	`[typeof d, typeof m, Array.isArray(d), Array.isArray(l), m instanceof Object, m instanceof Array, l instanceof Array]`,
	`[String(m), m + "", m == "[object Object]", Number(m), !m, Object.prototype.toString.call(m), Object.prototype.toString.call(l), isNaN(m)]`,
	"`${m} ${l}`", `m?.toString() + m?.toLocaleString()`, `Object.getOwnPropertyNames(Object(m))`, `[Object.isFrozen(Object(m)), Object.isExtensible(Object(m))]`,
	`Object(m).propertyIsEnumerable("x")`, `Object.getPrototypeOf(Object(m)) === Object.prototype`, `Object(m).constructor === Object`, `Object(m).valueOf() === m`,
	`Object.prototype.isPrototypeOf(m)`, `Object(d).isPrototypeOf(m)`, `(Object.prototype.added = 5, [d?.added, "added" in Object(d), m, keys(d)])`,
	`(() => { const o = Object.create(Object(m)); return [o.x, "x" in o, Object.keys(o), o.nothing]; })()`,
	`(() => { const o = Object.create(Object(m)); o.x = 5; o.y = 6; const seen = []; for (const k in o) seen.push(k); return [o, seen, m]; })()`,
	`Object.create(Object(m))`, `(class { constructor() { return Object(m); } }, new (class { constructor() { return Object(m); } })())`,
	`Array.from(Object(d))`, `Array.from({ length: 2, ...d })`, `Array.prototype.map.call(Object(d), (v) => v)`, `Array.prototype.slice.call(Object(m), 0, 2)`,
	`[].concat(d, m, l)`, `[m, m].flat()`, `(l ?? []).flat()`, `(l ?? []).map((v) => v?.x ?? v)`, `(l ?? []).filter((v) => v?.x)`, `(l ?? []).find((v) => v?.x === 2)`,
	`(Array.isArray(l) ? [...l].reverse() : 0)`, `(Array.isArray(l) ? l.sort() : 0)`, `(Array.isArray(l) ? (l.push(1), l.length = 2, l[5] = 3, [d.l, l.length]) : 0)`,
	`(Array.isArray(l) ? (delete l[0], d) : 0)`, `(Array.isArray(l) ? l.splice(0, 1, "new") && d : 0)`, `(Array.isArray(l) ? ((l.extra = 1), [l, Object.keys(l), d.l.extra]) : 0)`,
	`Object.groupBy(l ?? [], (v) => typeof v)`, `new Date(d?.t ?? 0)`, `[m?.x?.y?.z, d?.constructor?.name]`,
	`(function () { return [this === m, this?.x, Array.from(arguments)]; }).call(m, d, l)`, `((...all) => all)(...values(m))`, `[m?.n + 1, -m?.n, m?.n * 2, typeof m?.n, typeof m?.big]`,
	`keys(m).map((k) => m[k])`, `keys(d).toSorted().map((k) => [k, typeof d[k], d[k]])`, `Object.entries(Object(d)).sort(([a], [b]) => (a < b ? 1 : -1))`,
	`(delete Object(d).nothing, delete context.nothing, d)`, `(() => { try { null.x; } catch (e) { return [e.name, e.message]; } })()`,
	`(() => { try { m(); } catch (e) { return e.name; } })()`, `(() => { try { new m(); } catch (e) { return e.name; } })()`, `(() => { try { [...m]; } catch (e) { return e.name; } })()`,
	`(() => { try { 1 instanceof m; } catch (e) { return e.name; } })()`, `(() => { try { d.x.y.z; } catch (e) { return e.name; } })()`,
	`d.x.y.z`, `m()`, `new m()`, `[...m]`, `1 in d`, `"x" in d.a`, `m.x()`, `1 instanceof m`, `(() => { throw m; })()`, `(() => { throw d; })()`, `NaN`, `() => 1`, `[undefined, m?.nothing]`,
	`Promise.resolve(m)`, `new Map([[m, d]])`, `new (class A { x = m; toJSON() { return [this.x]; } })()`, `(() => { const self = { m }; self.self = self; return self; })()`,
	`(() => { const o = { ...m, d }; o.o = o; return o; })()`, `keys(context.tables)`, `context.tables.codes?.a`, `[context.now, context.attempt, context.changed, context.previous?.change.data]`,
	`[change.id, change.kind, change.version, change.op, change.event, change.actor, change.time, fetched.patient?.name, fetched.nobody]`,
	`Object.keys(record).map((k) => [k, typeof record[k]])`, `record.parent?.data ?? record.parent`, `Math.random() + Date.now()`, `d && Object.values(d).length`,
}

// writing are mappings that change the record, or may.
var writing = []string{
	`Object.assign({ z: 1, a: 2 }, d, m)`, `d?.[proto]?.admin`, `(Object(d).a = 5, d)`, `(Object(d).added = 5, [d, keys(d), d.added])`, `(Object(d)[3] = 5, d)`, `(Object(d)["\ud83d"] = 5, 0)`, `(delete Object(d).a, [d, keys(d), "a" in Object(d)])`,
	`(Object.assign(Object(d), { a: 1, z: 2 }), d)`, `(m && (m.x = m), m?.x === m)`, `(m && (m.x += 1, m.n++), m)`, `(d && (d.m ??= 4, d.q ||= 5, d.a &&= 6), d)`,
	`(m && ({ x: m.y, y: m.x } = m), m)`, `(() => { for (const k in m) delete m[k]; return d; })()`, `(() => { for (const k in m) m[k + k] = 1; return d; })()`,
	`(() => { for (m[0] of [1, 2]); return d; })()`, `(() => { try { m.x = 1; throw 1; } catch { return m; } finally { m.y = 2; } })()`, `(change.id = 1, change)`,
	`(delete change.data, change)`, `(change.data = { own: 1 }, change)`, `(delete record.fetched, record)`, `(fetched.more = d, fetched)`, `(record.own = 1, record)`,
	`(context.own = 1, context)`, `(context.now = 1, context)`, `(() => { try { context.previous = 1; } catch (e) { return [e.name, context]; } })()`, `(context.previous = 1, context)`,
	`(() => { try { delete context.tables; } catch (e) { return [e.name, context]; } })()`, `(delete context.tables, context)`, `(context.previous && (context.previous.change.data.a = 1), [context.previous, d])`,
	`(Object(d)[proto] = { inherited: 1 }, [d?.inherited, d])`, `(Object(m)[proto] = m, 1)`, `(proto) in Object(m)`, `Object(m).hasOwnProperty(proto)`,
	`Object.assign({}, JSON.parse('{"' + proto + '":{"x":1}}'))`, `Object.assign(Object(m), JSON.parse('{"' + proto + '":{"inherited":1}}')).inherited`,
	`Array.prototype.push.call(Object(d), 1) && d`, `Array.prototype.sort.call(Object(d)) && d`, `Array.prototype.fill.call({ ...d, length: 1 }, 2)`,
	`JSON.parse('[1,[2]]', function (k, v) { if (k === "0" && Array.isArray(this) && this.length > 1) this[1] = d; return k === "a" ? undefined : v; }) && d`,
	`(Object.freeze(Object(m)), (() => { try { Object(m).x = 1; } catch (e) { return [e.name, m]; } return m; })())`, `Object.isFrozen(Object.freeze(Object(m)))`, `(Object.seal(m), d)`,
	`(Object.preventExtensions(Object(m)), Object.isExtensible(Object(m)))`, `(Object.defineProperty(Object(m), "x", { get: () => 5, enumerable: true }), m)`,
	`(Object.defineProperty(Object(m), "x", { value: 1, enumerable: false }), m)`, `(Object(m)[Symbol("s")] = 1, Object.getOwnPropertySymbols(Object(m)).length)`,
	`(Object(m)[Symbol.iterator] = function* () { yield 1; }, [...m])`, `Object.getOwnPropertyDescriptors(context)`, `Object.getOwnPropertyDescriptor(Object(d), "a")`,
	`(Object.setPrototypeOf(Object(m), { inherited: 1 }), [m.inherited, m])`, `({ __proto__: m }).x`, `Reflect.ownKeys(Object(d))`, `Reflect.set(Object(m), "x", 1) && m`, `new Proxy(Object(d), {})`,
	`(() => { class A { constructor() { return Object(m); } } class B extends A { x = 9; z = 8; } return [new B(), m]; })()`,
	`(() => { class A { constructor() { return Object(m); } } class B extends A { #p = 9; static p(o) { return o.#p; } } return B.p(new B()); })()`,
	`(Object(m).__defineGetter__("x", () => 5), m)`, `Object(m).__lookupGetter__("x") === undefined`, `(l && (l[0] = m, l[1] = d.l), [l?.[0] === m, keys(l)])`, `(l && l.forEach((v) => { if (v) v.x = 5; }), d)`,
	`(() => { m.x = 1; for (;;) {} })`, `(() => { m.x = 1; throw new RangeError("m"); })()`, `(() => { m.x = 1; return m.x.y.z; })()`, `(() => { throw { toString() { m.x = 1; return "text"; } }; })()`,
	`({ toJSON() { m.x = 1; return m; } })`, `new (class { toJSON() { m.x = 1; return m; } })()`, `(d.a = NaN, d)`,
}

// literals are mappings that make objects by literals, and do with them what can be done with objects. o is one, with o.in another.
var literals = []string{
	`o`, `[o, o]`, `{ o, p: o.in }`, `{ a: 1, "b c": 2, 'd': { e: [{ f: 3 }] } }`, `{ a: 1, a: 2 }`, `{ 2: "b", 1: "a", z: 0 }`, `{ "01": 1, "-1": 2, "1.5": 3, z: 4 }`, `{ [1 + 1]: 3, a: 1 }`,
	`{ ...o, a: 5 }`, `{ a: 1, get b() { return this.a; } }`, `{ a: 1, f() { return 1; } }.f()`, `{}`, `{ "größe": 1, "\u00e9": 2 }`, `{ "\ud83d": 1 }`, `{ "\ufffd": 1 }`, `{ "": 1 }`, `{ "\n\"": 1 }`,
	`{ a: undefined, b: null, c: 0, d: -0, e: "", f: false }`, `{ a: NaN }`, `{ a: () => 1 }`, `{ a: f }`, `{ a: new Date(0) }`, `{ a: new Map() }`, `{ toJSON: 1 }`, `{ toJSON: f }`, `{ a: { toJSON: f } }`,
	`[{ f: () => 1 }.f.name, { f: function () {} }.f.name, { f: class {} }.f.name, { f: (() => 1) }.f.name, { f: function own() {} }.f.name, { f: true && (() => 1) }.f.name]`,
	`(o.b = 1, o.z = 2, o.c = 3, [o, Object.keys(o), Object.values(o), Object.entries(o)])`, `(o.a = 5, o.a += 1, o.a++, o.n ??= 4, o.n ||= 5, o.n &&= 6, o)`, `(o["1"] = 1, o[0] = 2, [o, keys(o)])`,
	`(o["\ud83d"] = 1, keys(o).length)`, `[o["\ud83d"], "\ud83d" in o]`, `(o[proto] = { inherited: 1 }, [o.inherited, o])`, `(o[proto] = null, o)`, `proto in o`, `o[proto] === Object.prototype`, `(o[proto] = o, 1)`,
	`(delete o.a, [o, keys(o), "a" in o])`, `(delete o.nothing, o)`, `(delete o.a, o.a = 1, o)`, `(o.x = undefined, keys(o))`, `(o.toString = f, String(o))`, `(o.constructor = 1, [o, o.constructor])`,
	`(() => { const seen = []; for (const k in o) { seen.push(k, o[k]); o[k + k] = 1; } return [seen, o]; })()`, `(() => { const seen = []; for (const k in o) { seen.push(k); delete o.in; } return [seen, o]; })()`,
	`(() => { for (const k in o) delete o[k]; return o; })()`, `(() => { for (let i = 0; i < 40; i++) o["k" + i % 35] = i; return o; })()`, `(() => { for (let i = 0; i < 31; i++) o["k" + i] = i; return [o, o.k30, o.k31]; })()`,
	`(() => { const wide = { ` + wideLiteral(40) + ` }; wide.k3 = "new"; wide.more = 1; return [wide, wide.k39, wide.k40, "k5" in wide, "k50" in wide, keys(wide)]; })()`, `{ ` + wideLiteral(300) + ` }`,
	`["a", "in", "nothing", "constructor", "toString", 1, -1, "x", null, undefined].map((k) => [k in o, Object.hasOwn(o, k), o[k] === undefined, o.hasOwnProperty(k), o.propertyIsEnumerable(k)])`,
	`[typeof o, o instanceof Object, o.constructor === Object, Object.getPrototypeOf(o) === Object.prototype, Array.isArray(o), Object.isFrozen(o), Object.isExtensible(o), Object.isSealed(o), o.valueOf() === o]`,
	`[String(o), o + "", o == "[object Object]", Number(o), !o, isNaN(o), Object.prototype.toString.call(o), Math.max(o), parseInt(o), o.toLocaleString(), [o] + ""]`, "`${o} ${o.in}`",
	`[{ a: 1 } === { a: 1 }, o === [o][0], Object.is(o, o), new Set([o, o, { ...o }]).size, new Map([[o, 1]]).get(o), new WeakMap([[o, 2]]).get(o), [o].includes(o), [o.in].indexOf(o.in)]`,
	`[{ valueOf: f } + 1, { toString: f } + "", { valueOf: f, toString: f } < 5]`, `{ toString: 1, valueOf: 2 } + ""`, `{ a: 1 }()`, `new ({ a: 1 })()`, `[...{ a: 1 }]`, `1 instanceof { a: 1 }`, `"a" in { a: 1 }`, `{ a: 1 }.b()`, `{ a: 1 }.b.c`,
	`(() => { for (const x of { a: 1 }) return x; })()`, `(() => { const [x] = { a: 1 }; return x; })()`, `new Map({ a: 1 })`, `Math.max(...{ length: 2 })`, `(() => { throw { a: 1 }; })()`, `(() => { try { throw { a: 1 }; } catch ({ a }) { return a; } })()`,
	`(() => { try { throw new Error("text", { cause: o }); } catch (e) { return [e.message, e.cause === o]; } })()`, `Object.create({ inherited: 1 }, { x: { value: 1, enumerable: true, writable: true, configurable: true } })`,
	`Object.create(o, { x: { value: 1, enumerable: false } })`, `Object.create({}, { x: { get: f, enumerable: true } }).x`, `(() => { const c = Object.create(o); c.a = 9; c.own = 1; const seen = []; for (const k in c) seen.push(k); return [c, seen, o.a, c.in]; })()`,
	`Array.from({ length: 3, 0: "a", 1: "b" })`, `Array.from({ length: 2 }, (_, i) => ({ i }))`, `Array.prototype.map.call({ length: 1, "0": 1, b: 2 }, (v) => v)`, `Array.prototype.push.call(o, 5) && o`, `Array.prototype.join.call({ length: 2, a: 1 }, "-")`,
	`[].concat({ length: 1, a: 2 }, [o])`, `[[o], [[{ a: 1 }]]].flat(2)`, `Object.assign({ z: 1, a: 2 }, { a: 3, b: 4 }, null, "xy")`, `Object.assign(o, { b: 4, in: 5 })`, `Object.assign([], { a: 1, b: 2 }).a`, `Object.fromEntries(Object.entries({ a: 1, b: { c: 2 } }))`,
	`Object.groupBy([{ k: "x" }, { k: "y" }, { k: "x" }], ({ k }) => k)`, `[{ n: 2 }, { n: 1 }].sort((a, b) => a.n - b.n)`, `["x", "y"].reduce((all, k) => (all[k] = k, all), { first: 0 })`, `["x", "y"].reduce((all, k) => ({ ...all, [k]: { k } }), {})`,
	`JSON.stringify({ a: 1, b: undefined, c: f, d: [undefined, f], e: o })`, `JSON.stringify(o, null, 2)`, `JSON.stringify(o, ["in", "x"])`, `JSON.stringify({ a: { b: 1 } }, function (k, v) { return k === "b" ? this.b + 1 : v; })`, `JSON.stringify({ toJSON: f })`, `JSON.stringify(globalThis)`,
	`JSON.parse('{"a":[1]}', (k, v) => (k === "0" ? { v } : v))`, `(o.self = o, o)`, `(o.in.up = [o], o)`, `(() => { const { a, ["in"]: deep, ...rest } = o; rest.more = 1; return [a, deep, rest, o]; })()`, `(({ a = 1, b: { c } = { c: 2 } } = { a: 3 }) => [a, c])()`, `(({ a, b } = { a: 1, b: 2 }) => a + b)({ b: 5 })`,
	`((i) => ({ a: i++, b: i++, c: { d: i++ }, e: i }))(1)`, `[...(function* () { const got = { a: yield 1, b: yield { c: 2 } }; yield got; })()]`, `(() => { const all = []; for (let i = 0; i < 3; i++) all.push({ i, f: f }); all[0].i = 9; delete all[1].f; return all.map(({ i, f }) => [i, typeof f]); })()`,
	`new (class { x = { a: 1 }; y = { b: this.x }; })()`, `(() => { class A { constructor() { return { a: 1 }; } } class B extends A { x = 9; a = 8; } return [new B(), new B() instanceof B]; })()`, `(() => { function P() { this.a = 1; } P.prototype = { b: 2, f }; const p = new P(); return [p, p.b, p.f(), p instanceof P]; })()`,
	`(function () { return [arguments[0], arguments.length]; })({ a: 1 })`, `(function () { return this.a; }).call({ a: 1 })`, `(function () { return this; }).bind({ a: 1 })()`, `(({ a: { b: 1 } })?.a?.b, { a: null }?.a?.b)`, `(() => { const o = { n: 1 }; return [o.n++, ++o.n, o.n -= 5, o]; })()`,
	`Object.getOwnPropertyNames(o)`, `Object.entries({ b: 1, a: 2 }).map(([k, v]) => ({ [k]: v, k, v }))`, `{ a: 1 } && { b: 2 } || { c: 3 }`, `[{ a: 1 }, , { b: 2 }]`, `(() => { label: { return { a: 1 }; } })()`, `(() => { switch (o.a) { case 1: return { one: { o } }; } })()`,
	"((parts, ...values) => ({ parts, values }))`x${{ a: 1 }}y${o}z`", `{ a: d, b: m, c: l, d: change, e: fetched, f: context.now }`, `(o.d = d, o.in.m = m, [o, o.d === d])`, `Object.assign(o, d)`, `Object.assign({ a: 1 }, m)`, `{ ...{ a: 1, m }, b: 2 }`, `{ a: (o.late = 1, 2), o }`,
	"{\n    a: 1,\n    b: {\n      c: null.x,\n    },\n  }", "{\n    a: 1,\n    b: o.nothing.more,\n  }", "{\n    a: o.nothing(),\n  }", "{\n    a: { b: [{ c: NaN }] },\n  }", `Reflect.ownKeys(o)`, `(Object.defineProperty(o, "x", { value: 1 }), [o, o.x])`, `(Object.freeze(o), (() => { try { o.a = 5; } catch (e) { return e.name; } })())`,
	`(() => { let x, y; for ({ a: x, b: { c: y } = { c: 2 } } of [{ a: 1 }]); [{ a: y }] = [{ a: 3 }]; return [x, y]; })()`, `(async () => ({ a: 1 }))`, `(() => { async function g() { return { a: 1 }; } return g(); })()`,
	`globalThis["object {}"]?.(0)`, `Object.keys(globalThis)`, `Object.getOwnPropertyNames(globalThis)`, `"object {}" in globalThis`, `{ a: new Error("text").stack, b: [{ toString: () => new Error("text").stack }] + "" }`,
	"(() => {\n    const nest = (n) => {\n      const o = { a: n };\n      return n && nest(n + 1);\n    };\n    return nest(1);\n  })()", `[1995, 1996, 1997, 1998, 1999, 2000].map((n) => { const nest = (n) => (n ? nest(n - 1) : { a: n }); return nest(n); })`,
	`(() => { const nest = (n) => (n ? nest(n - 1) : { a: n }); return nest(1996); })()`, `(() => { const nest = (n) => (n ? nest(n - 1) : { a: n }); return nest(1997); })()`, `(() => { const nest = (n) => (n ? nest(n - 1) : { a: n }); return nest(1998); })()`,
	`(() => { const out = {}; (async () => { out.x = { a: await 1, b: await { then: (r) => r({ z: 2 }) } }; delete out.x.a; })(); return out; })()`, `{ a: { toJSON: () => { o.z = 1; delete o.a; return 1; } }, o }`,
}

// wideLiteral is the text of n members.
func wideLiteral(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "k%d: %d, ", i, i)
	}
	return b.String()
}

var viewedDocuments = []string{
	`{"a":1,"m":{"x":1,"y":"two","n":7,"big":9007199254740993},"l":[1,"2",{"x":2},null,[{"x":[]}]],"t":"2026-01-01T00:00:00Z"}`,
	`{"a":"` + strings.Repeat("long ", 20) + `","m":{"x":"` + strings.Repeat(`\u00e9`, 20) + `"},"l":["` + strings.Repeat("😀", 30) + `"]}`,
	`{"b":1,"10":"ten","9":"nine","a":2,"m":{"4294967295":1,"4294967294":2,"01":3,"1":4,"0":5,"x":{"y":{"z":1}}},"1":{"x":1},"-1":0,"1.5":2}`,
	`{"a":1,"a":2,"m":{"x":1},"l":[0],"m":{"y":2,"x":{"x":3},"y":4},"l":[{"x":2},{"x":2}]}`,
	`{"__proto__":{"admin":true},"constructor":1,"toString":2,"m":{"__proto__":null,"x":1,"hasOwnProperty":3},"l":[{"__proto__":1}]}`,
	`{"größe":1,"m":{"名":"前","😀":"\ud83d\ude00","x":"\u00e9"},"l":["ü"]}`, `{"\u0061":1,"m":{"x\n":1,"x":2},"l":[]}`, "{\"\uFFFD\":1,\"m\":{\"x\":1,\"\uFFFD\":2}}",
	`{"\ud83d":1,"m":{"x":"\ud83d"},"l":["\ude00"]}`, "{\"a\xff\":1,\"m\":{\"x\":\"\xff\"}}", `{"":{"":1},"m":{"":[]},"l":[[],{}]}`, ` { "a" : [ 1 , 2 ] , "m" : { } , "l" : [ ] } `,
	`{"a":-0,"m":{"x":1e400,"n":-1e2,"y":1.50},"l":[1.0,1e21,1e-7,123456789012345678901234567890]}`, `{"x":{"y":{"z":[[[{"a":1}]]]}},"m":null,"l":null}`,
	`{"toJSON":1,"then":2,"valueOf":3,"length":2,"0":"zero","m":{"length":3,"0":{"x":1},"2":"two","toString":4},"l":{"length":1}}`,
	`[{"x":1},[2,{"x":3}],"4"]`, `"text"`, `12`, `null`, `true`, `{}`, ``, `[]`, strings.Repeat(`{"m":`, 300) + `1` + strings.Repeat("}", 300), strings.Repeat(`[`, 300) + strings.Repeat("]", 300),
	wide(33), wide(200), `{"a":1,}`, `{"a" 1}`, `{"a":tru}`, `{"a":"\u12"}`, "{\"a\nb\":1}", `{"a":1}}`, `[1 2]`, `{1:2}`, `{"a":01}`, strings.Repeat("[", 10001) + strings.Repeat("]", 10001),
	strings.Repeat("[", 10002) + strings.Repeat("]", 10002),
}

// wide is an object of n members and more, some of which come twice.
func wide(n int) string {
	var b strings.Builder
	b.WriteString(`{"m":{"x":1},"l":[1]`)
	for i := range n {
		fmt.Fprintf(&b, `,"k%d":{"x":%d},"%d":%d`, i%(n-3), i, n-i%7, i)
	}
	return b.String() + "}"
}

func viewed(t testing.TB, expression string) *script.Script {
	t.Helper()
	path := write(t, map[string]string{"map.js": "const proto = ['__pro', 'to__'].join('');\nconst keys = (v) => Object.keys(Object(v));\nconst values = (v) => Object.values(Object(v));\nfunction f() { return 7; }\n" +
		"export default (record, context) => {\n  const { change, fetched } = record;\n  const d = change.data;\n  const m = d?.m;\n  const l = d?.l;\n  const o = { a: 1, in: { x: 2 } };\n" +
		"  return { v: (" + expression + ") };\n};"})
	s, err := script.Compile(path, script.Options{Tables: map[string]map[string]string{"codes": {"a": "1"}}})
	if err != nil {
		t.Fatalf("%s: %v", expression, err)
	}
	return s
}

func viewedRecord(data, patient, previous string) (*record.Record, script.Context) {
	r := &record.Record{
		Change:  sdk.Change{Ref: sdk.Ref{Kind: "appointment", ID: "A1"}, Version: "3", Op: sdk.Updated, Time: now, Actor: "x", Data: json.RawMessage(data)},
		Fetched: map[string]json.RawMessage{"patient": json.RawMessage(patient), "10": json.RawMessage(`{"ten":1}`), "orders": nil},
	}
	if len(data)%2 == 0 {
		r.Parent = &sdk.Change{Ref: sdk.Ref{Kind: "list", ID: "L1"}, Data: json.RawMessage(patient)}
		delete(r.Fetched, "10") // without it what was fetched is a view, too
	}
	c := script.Context{Pipeline: "p", Source: "rest.clinic", Deliver: "d", Now: now, Attempt: 1}
	if previous != "" {
		c.Previous = &record.Record{Change: sdk.Change{Data: json.RawMessage(previous)}}
	}
	return r, c
}

// wording are goja's messages that say what kind of object it has, some by its Go value.
var wording = regexp.MustCompile(`Could not convert .* to primitive|Expecting a function in instanceof check, but got .*|Not a function: \[object Object\]|Dynamic object is not callable`)

// same maps a record with views and without, and fails if that differs. It reports whether the script left the views as they were.
func same(t testing.TB, s *script.Script, r *record.Record, c script.Context, what string) bool {
	t.Helper()
	var bodies [2]string
	var errs [2]script.Error
	left := false
	for i, views := range []bool{true, false} {
		script.SetViews(s, views)
		body, err := s.Map(t.Context(), r, c)
		left = left || script.Views(s)
		var e *script.Error
		if bodies[i] = string(body); errors.As(err, &e) {
			errs[i] = *e
			errs[i].Detail = wording.ReplaceAllString(e.Detail, "wrong kind of object")
		} else if err != nil {
			t.Fatalf("%s: %v", what, err)
		}
	}
	if errs[0].TimedOut || errs[1].TimedOut {
		return true // a machine under load
	}
	if bodies[0] != bodies[1] || errs[0] != errs[1] {
		t.Errorf("%s\nwith views    %.2000s %+v\nwithout views %.2000s %+v", what, bodies[0], errs[0], bodies[1], errs[1])
	}
	return left
}

// What a script does with a record is the same whether its objects are made at once or when they are read. It takes the race detector a
// minute of one processor, for calls that follow one another: .ci/run has a step without it.
func TestViewsAreToAScriptWhatObjectsAre(t *testing.T) {
	info, _ := debug.ReadBuildInfo()
	if info != nil && slices.Contains(info.Settings, debug.BuildSetting{Key: "-race", Value: "true"}) {
		t.Skip("it is run without the race detector")
	}
	for n, expression := range slices.Concat(reading, writing, literals) {
		s := viewed(t, expression)
		for i, data := range viewedDocuments {
			r, c := viewedRecord(data, viewedDocuments[(i+1)%16], viewedDocuments[(i+3)%16])
			what := fmt.Sprintf("%s of %.200q", expression, data)
			if left := same(t, s, r, c, what); !left && n < len(reading) {
				t.Errorf("%s: the script got no views", what)
			}
		}
	}
}

// Object literals of a mapping are made without goja's hash tables, where views may be.
func TestLiteralsShareTheirNames(t *testing.T) {
	for text, want := range map[string]int{
		`({ change }) => ({ a: 1, b: { c: change.id, d: [{ e: 2 }] } })`: 3, `({ change }) => ({ a: 1, b: { f() {} }, 1: { c: 2 } })`: 1, `({ change }) => ({ ...change, a: {} })`: 0,
		`({ change }) => Object.freeze({ a: 1 })`: 0,
	} {
		if got := script.Shapes(compile(t, "export default "+text)); got != want {
			t.Errorf("%s: %d shapes, want %d", text, got, want)
		}
	}
}

// FuzzViews holds views against objects that are made at once.
func FuzzViews(f *testing.F) {
	expressions := slices.Concat(reading, writing, literals)
	for i, data := range viewedDocuments {
		f.Add([]byte(data), uint16(i))
	}
	scripts := make([]*script.Script, len(expressions))
	for i, expression := range expressions {
		scripts[i] = viewed(f, expression)
	}
	f.Fuzz(func(t *testing.T, data []byte, which uint16) {
		i := int(which) % len(expressions)
		r, c := viewedRecord(string(data), string(data), `{"a":1}`)
		same(t, scripts[i], r, c, expressions[i])
	})
}

// A script that changes its record is called once more, and never again with views.
func TestAScriptThatChangesItsRecordGetsNoViews(t *testing.T) {
	s := compile(t, "export default ({ change }) => {\n  change.data.seen = (change.data.seen ?? 0) + 1;\n  return change.data;\n};")
	if !script.Views(s) {
		t.Fatal("no views at first")
	}
	for range 3 {
		if got, err := mapRecord(t, s, small(`{"a":1}`)); err != nil || got != `{"a":1,"seen":1}` {
			t.Errorf("got %s, %v", got, err)
		}
		if script.Views(s) {
			t.Error("views after a change")
		}
	}
	// One that hides its changes is not caught in them: the second call is within the limits, too.
	endless := compile(t, "export default ({ change }) => {\n  try { change.data.x = 1; } catch {}\n  for (;;) {}\n};")
	began := time.Now()
	var own *script.Error
	if _, err := endless.Map(t.Context(), small(`{}`), script.Context{}); !errors.As(err, &own) || !own.TimedOut {
		t.Errorf("got %v after %v", err, time.Since(began))
	}
}

// A text that is read letter by letter is not looked through for each of them.
func TestALongTextIsReadInTime(t *testing.T) {
	s := compile(t, `export default ({ change }) => {
	let n = 0;
	for (let i = 0; i < change.data.text.length; i++) n += change.data.text.charCodeAt(i) === 0x61;
	return { n };
};`)
	got, err := mapRecord(t, s, small(`{"text":"`+strings.Repeat("ab", 32<<10)+`"}`))
	if want := `{"n":32768}`; err != nil || got != want {
		t.Errorf("got %s, %v, want %s", got, err, want)
	}
}
