// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package pseudonym

import (
	"encoding/binary"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
)

// Members whose text is a code of the EHR or a standard, by the last word of their name; and words in a name that say otherwise, as a
// postal code does.
var (
	codes = []string{"category", "class", "code", "codeset", "currency", "event", "format", "gender", "intent", "kind", "language", "mode",
		"op", "priority", "sex", "status", "system", "type", "unit", "units", "use", "version"}
	personal = []string{"access", "area", "pass", "pin", "post", "postal", "security", "verification", "zip"}
	dates    = []string{"at", "birth", "birthday", "created", "date", "day", "dob", "end", "modified", "since", "start", "time", "timestamp", "updated", "version", "when", "year"}
	years    = []string{"birth", "date", "dob", "year"}
	numbers  = []string{"account", "appointment", "encounter", "fax", "guarantor", "identifier", "key", "lat", "latitude", "lng", "lon", "longitude", "member",
		"mobile", "mrn", "no", "npi", "num", "number", "patient", "person", "phone", "physician", "pin", "pk", "postal", "practitioner", "provider",
		"reference", "ssn", "subject", "subscriber", "tel", "telephone", "visit", "year", "zip"} // and what ends with id
	phones = []string{"cell", "fax", "mobile", "phone", "phones", "tel", "telecom", "telephone"}
)

var (
	code      = regexp.MustCompile(`^[\pL\pN][\pL\pN_.:/+-]*( [\pL\pN_.:/+-]+){0,2}$`)
	standards = regexp.MustCompile(`^(https?://([a-z.]+\.)?(hl7\.org|loinc\.org|snomed\.info|unitsofmeasure\.org|nlm\.nih\.gov)/|urn:oid:2\.16\.840\.1\.113883\.6\.)`)
	clockTime = regexp.MustCompile(`^\d{1,2}:\d{2}(:\d{2})?( ?[AaPp]\.?[Mm]\.?)?$`)
	email     = regexp.MustCompile(`^[^@\s]+@[^@\s]+$`)
	webURL    = regexp.MustCompile(`(?i)^(https?)://[^/?#]*`)
	reference = regexp.MustCompile(`^[A-Z][A-Za-z]+/`) // of FHIR: Patient/123
	plainName = regexp.MustCompile(`^[\pL_$@]+([0-9]{0,2}|[:.-][\pL_$@:.-]*)$`)
	runs      = regexp.MustCompile(`[\pL\pM]+|\pN+`)
)

// words are those that a member's name is made of, in lower case: of patientID, patient_id and "Patient ID" the same two.
func words(name string) []string {
	var out []string
	rest := []rune(name)
	for i := 0; i < len(rest); {
		j := i
		for j < len(rest) && unicode.IsUpper(rest[j]) {
			j++
		}
		switch {
		case j-i > 1 && j < len(rest) && unicode.IsLower(rest[j]): // the last capital begins a word: IDType
			j--
		case j-i <= 1:
			for j < len(rest) && unicode.IsLower(rest[j]) {
				j++
			}
		}
		if j == i { // neither
			i++
			continue
		}
		out = append(out, strings.ToLower(string(rest[i:j])))
		i = j
	}
	return out
}

func anyOf(words, of []string) bool {
	return slices.ContainsFunc(words, func(w string) bool { return slices.Contains(of, w) })
}

// isCode says that a text is a code by the name of its member and by how it looks.
func isCode(member, text string) bool {
	w := words(member)
	return len(w) > 0 && slices.Contains(codes, w[len(w)-1]) && !anyOf(w, personal) && len(text) <= 64 && code.MatchString(text)
}

// name is what the name of a member becomes: what an author wrote stays; where objects are keyed by what a record holds, such as
// identifiers, it is replaced.
func (r *Replacer) name(name string) string {
	if plainName.MatchString(name) {
		return name
	}
	return r.text("", name)
}

// text is what a text becomes that is in a member of that name.
func (r *Replacer) text(member, text string) string {
	if moved, ok := r.date(member, text); ok {
		return moved
	}
	switch {
	case clockTime.MatchString(text), standards.MatchString(text), isCode(member, text):
		return text
	case email.MatchString(text):
		local, _, _ := strings.Cut(text, "@")
		return r.letters(local) + "@example.org"
	case anyOf(words(member), phones):
		return r.phone(text)
	}
	if m := webURL.FindString(text); m != "" {
		return "https://example.org" + r.letters(text[len(m):])
	}
	if head := reference.FindString(text); head != "" {
		return head + r.letters(text[len(head):])
	}
	return r.letters(text)
}

// letters replaces the letters and the digits of a text, run by run.
func (r *Replacer) letters(text string) string { return runs.ReplaceAllStringFunc(text, r.run) }

// maxTries bounds the search for a replacement that no other text has: of short texts there are few.
const maxTries = 1000

// run is what a run of letters or of digits becomes: one of the same length and, character by character, of the same class. Upper
// and lower case are replaced alike.
func (r *Replacer) run(text string) string {
	lower := strings.ToLower(text)
	made, known := r.runs[lower]
	for i := uint64(0); !known; i++ {
		made = r.runOf(lower, i)
		if known = made != lower && !r.taken[made] || i == maxTries; known {
			r.runs[lower], r.taken[made] = made, true
		}
	}
	out := []rune(made)
	for i, c := range []rune(text) {
		if i < len(out) && unicode.IsUpper(c) {
			out[i] = unicode.ToUpper(out[i])
		}
	}
	return string(out)
}

func (r *Replacer) runOf(lower string, try uint64) string {
	const consonants, vowels, others = "bdfgklmnprstvz", "aeiou", "äéñöü"
	var out strings.Builder
	for i, c := range []rune(lower) {
		n := r.number(lower, try<<32|uint64(i))
		pick := func(from string) rune { all := []rune(from); return all[n%uint64(len(all))] }
		switch {
		case c == '0' && i == 0:
			out.WriteRune(c) // as a number it would have a digit less
		case unicode.IsNumber(c) && i == 0:
			out.WriteRune(pick("123456789"))
		case unicode.IsNumber(c):
			out.WriteRune(pick("0123456789"))
		case c > unicode.MaxASCII:
			out.WriteRune(pick(others))
		case i%2 == 0:
			out.WriteRune(pick(consonants))
		default:
			out.WriteRune(pick(vowels))
		}
	}
	return out.String()
}

// phone gives digits that are nobody's: the last seven become one of the numbers that are kept for fiction in North America.
func (r *Replacer) phone(text string) string {
	digits := 0
	for _, c := range text {
		if c >= '0' && c <= '9' {
			digits++
		}
	}
	if digits < 7 {
		return r.letters(text)
	}
	var sum [8]byte
	binary.BigEndian.PutUint64(sum[:], r.number(text, 0))
	fiction := "55501" + string('0'+sum[0]%10) + string('0'+sum[1]%10)
	left := digits
	return strings.Map(func(c rune) rune {
		switch {
		case c < '0' || c > '9':
			return c
		case left > 7:
			left--
			return '2' + rune(sum[left%8]%8)
		}
		left--
		return rune(fiction[6-left])
	}, text)
}

// isID says that a word names somebody or something: id, or patientid, and not paid.
func isID(word string) bool {
	word = strings.TrimSuffix(word, "s")
	return strings.HasSuffix(word, "id") && !strings.HasSuffix(word, "aid")
}

// numeral is what a number becomes. Small ones stay, as amounts and results are; those that may name or find somebody do not.
func (r *Replacer) numeral(member, text string) string {
	w := words(member)
	whole, _, _ := strings.Cut(strings.TrimPrefix(text, "-"), ".")
	if moved, ok := r.date(member, text); ok {
		return moved
	}
	if isCode(member, text) || len(whole) < 5 && !anyOf(w, numbers) && !slices.ContainsFunc(w, isID) || strings.ContainsAny(text, "eE") && len(text) < 5 {
		return text
	}
	return runs.ReplaceAllStringFunc(text, func(run string) string {
		if run == "e" || run == "E" {
			return run
		}
		return r.run(run)
	})
}

// written are the ways in which dates are written; after them come times, which stay.
var written = []struct {
	form   *regexp.Regexp
	layout string
	only   []string // the words of which one is in the name of the member; nil: any name will do
}{
	{regexp.MustCompile(`^\d{4}-\d{2}-\d{2}($|[T ]\d{2}:?\d{2}[0-9:.,]*(Z| ?[+-]\d{2}:?\d{2})?$)`), "2006-01-02", nil},
	{regexp.MustCompile(`^\d{4}-\d{2}$`), "2006-01", nil},
	{regexp.MustCompile(`^\d{2}/\d{2}/\d{4}($| \d{1,2}:\d{2}[0-9:]*( ?[AaPp][Mm])?$)`), "01/02/2006", nil},
	{regexp.MustCompile(`^\d{2}/\d{2}/\d{4}($| \d{1,2}:\d{2}[0-9:]*$)`), "02/01/2006", nil},
	{regexp.MustCompile(`^\d{2}\.\d{2}\.\d{4}($| \d{1,2}:\d{2}[0-9:]*$)`), "02.01.2006", nil},
	{regexp.MustCompile(`^\d{8}($|\d{4}(\d{2})?([+-]\d{4})?$)`), "20060102", dates},
	{regexp.MustCompile(`^(19|20)\d{2}$`), "2006", years},
}

// date moves a date; how it is written stays.
func (r *Replacer) date(member, text string) (string, bool) {
	w := words(member)
	for _, d := range written {
		if !d.form.MatchString(text) || d.only != nil && !anyOf(w, d.only) {
			continue
		}
		if t, err := time.Parse(d.layout, text[:len(d.layout)]); err == nil {
			return r.moved(t).Format(d.layout) + text[len(d.layout):], true
		}
	}
	return r.epoch(w, text)
}

// epoch moves an instant in seconds or milliseconds since 1970, from the years 2001 to 2286.
func (r *Replacer) epoch(words []string, text string) (string, bool) {
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil || !anyOf(words, dates) {
		return "", false
	}
	day := int64(24 * 60 * 60)
	switch len(text) {
	case 10:
	case 13:
		day *= 1000
	default:
		return "", false
	}
	return strconv.FormatInt(n-int64(r.days)*day, 10), true
}
