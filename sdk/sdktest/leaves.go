// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package sdktest

import (
	"bytes"
	"encoding/json"
	"regexp"
)

var xmlText = regexp.MustCompile(`>[^<>]*[^<>\s][^<>]*<`)

// replaceLeaves replaces the values of a document, JSON or XML, and leaves its form. All else stays as it is.
func replaceLeaves(body []byte, by string) []byte {
	var v any
	if json.Unmarshal(body, &v) != nil {
		if t := bytes.TrimSpace(body); len(t) > 0 && t[0] == '<' {
			return xmlText.ReplaceAllLiteral(body, []byte(">"+by+"<"))
		}
		return body
	}
	out, err := json.Marshal(replaced(v, by))
	if err != nil {
		return body // it was JSON before
	}
	return out
}

func replaced(v any, by string) any {
	switch v := v.(type) {
	case string, float64:
		return by
	case []any:
		for i := range v {
			v[i] = replaced(v[i], by)
		}
	case map[string]any:
		for name := range v {
			v[name] = replaced(v[name], by)
		}
	}
	return v
}
