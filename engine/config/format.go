// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package config

import (
	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclwrite"
)

// Format gives the text of a .hcl file in the usual layout: indented by two, equals signs of neighbours beneath each other. What
// does not parse is not touched: then the diagnostics say why.
func Format(name string, src []byte) ([]byte, Files, hcl.Diagnostics) {
	l := &loader{files: Files{}, unsure: map[string]bool{}, outside: &outside{}}
	if l.parse(name, string(src)); len(l.diags) == 0 {
		return hclwrite.Format(src), nil, nil
	}
	return nil, l.cover(), l.finish()
}

// FileNames returns the .hcl files that a path stands for, as Load reads them.
func FileNames(path string) ([]string, hcl.Diagnostics) {
	var l loader
	return l.find(path), l.diags
}
