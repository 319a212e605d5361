// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package rawjson

import (
	"encoding/binary"
	"math/bits"
)

// deepest is how deep arrays and objects may lie in each other; encoding/json reads no deeper ones.
const deepest = 10_000

// Valid says whether doc is one JSON value, exactly as encoding/json's Valid does, at several times its speed.
func Valid(doc []byte) bool {
	var room [32]byte
	open := room[:0] // what closes the arrays and objects around i
	for i := skipSpace(doc, 0); ; {
		// A value begins at i.
		if i >= len(doc) {
			return false
		}
		switch c := doc[i]; c {
		case '"':
			if i = stringEnd(doc, i); i < 0 {
				return false
			}
		case '{', '[':
			if len(open) == deepest {
				return false
			}
			closes := c + 2 // in ASCII
			open = append(open, closes)
			if i = skipSpace(doc, i+1); i < len(doc) && doc[i] == closes {
				break // what follows a value sees it
			}
			if c == '{' {
				if i = memberValue(doc, i); i < 0 {
					return false
				}
			}
			continue
		case 't', 'f', 'n':
			if i = wordEnd(doc, i); i < 0 {
				return false
			}
		default:
			if i = numberEnd(doc, i); i < 0 {
				return false
			}
		}
		// What follows a value: the next one, or the end of what they are in.
		for {
			i = skipSpace(doc, i)
			if len(open) == 0 {
				return i == len(doc)
			}
			if i >= len(doc) {
				return false
			}
			in := open[len(open)-1]
			if doc[i] == in {
				open = open[:len(open)-1]
				i++
				continue
			}
			if doc[i] != ',' {
				return false
			}
			i = skipSpace(doc, i+1)
			if in == '}' {
				if i = memberValue(doc, i); i < 0 {
					return false
				}
			}
			break
		}
	}
}

// memberValue returns where the value of the member that starts at i begins; negative: there is none.
func memberValue(doc []byte, i int) int {
	if i >= len(doc) || doc[i] != '"' {
		return -1
	}
	if i = stringEnd(doc, i); i < 0 {
		return -1
	}
	if i = skipSpace(doc, i); i >= len(doc) || doc[i] != ':' {
		return -1
	}
	return skipSpace(doc, i+1)
}

// Each byte of a word is 1, or has its highest bit.
const (
	ones  = 0x0101010101010101
	highs = 0x8080808080808080
)

// special marks, by their highest bits, the bytes of a word that are not plain in a string: quotes, backslashes and controls. Bytes
// above the lowest that is marked may be marked wrongly.
func special(word uint64) uint64 {
	quote, escape := word^ones*'"', word^ones*'\\'
	return ((quote-ones)&^quote | (escape-ones)&^escape | (word-ones*0x20)&^word) & highs
}

// plainEnd returns the index of the first byte from i on that is not plain in a string.
func plainEnd(doc []byte, i int) int {
	for ; i+8 <= len(doc); i += 8 {
		if s := special(binary.LittleEndian.Uint64(doc[i:])); s != 0 {
			return i + bits.TrailingZeros64(s)/8
		}
	}
	for i < len(doc) && doc[i] != '"' && doc[i] != '\\' && doc[i] >= 0x20 {
		i++
	}
	return i
}

// stringEnd returns the index after the string that starts at i; negative: it is none.
func stringEnd(doc []byte, i int) int {
	for i++; ; {
		i = plainEnd(doc, i)
		if i >= len(doc) || doc[i] < 0x20 {
			return -1
		}
		if doc[i] == '"' {
			return i + 1
		}
		if i+1 >= len(doc) {
			return -1
		}
		switch doc[i+1] {
		case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
			i += 2
		case 'u':
			if i+6 > len(doc) || !isHex(doc[i+2]) || !isHex(doc[i+3]) || !isHex(doc[i+4]) || !isHex(doc[i+5]) {
				return -1
			}
			i += 6
		default:
			return -1
		}
	}
}

func isHex(c byte) bool { return isDigit(c) || c|0x20 >= 'a' && c|0x20 <= 'f' }

func isDigit(c byte) bool { return c >= '0' && c <= '9' }

// wordEnd returns the index after true, false or null at i; negative: it is none of them.
func wordEnd(doc []byte, i int) int {
	for _, word := range [...]string{"true", "false", "null"} {
		if end := i + len(word); end <= len(doc) && string(doc[i:end]) == word {
			return end
		}
	}
	return -1
}

// numberEnd returns the index after the number at i; negative: there is none.
func numberEnd(doc []byte, i int) int {
	if doc[i] == '-' {
		i++
	}
	begin := i
	if i = digits(doc, i); i == begin || doc[begin] == '0' && i > begin+1 {
		return -1
	}
	if i < len(doc) && doc[i] == '.' {
		begin = i + 1
		if i = digits(doc, begin); i == begin {
			return -1
		}
	}
	if i < len(doc) && doc[i]|0x20 == 'e' {
		if i++; i < len(doc) && (doc[i] == '+' || doc[i] == '-') {
			i++
		}
		begin = i
		if i = digits(doc, begin); i == begin {
			return -1
		}
	}
	return i
}

func digits(doc []byte, i int) int {
	for i < len(doc) && isDigit(doc[i]) {
		i++
	}
	return i
}
