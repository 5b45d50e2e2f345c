package pipefile

import (
	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
)

// HCL's parser recurses as deep as its input nests, and a stack that overflows
// can't be recovered from: 200 KB of "(" kill the process. So nesting is counted
// in the tokens first, which are scanned without recursion.
const (
	maxDepth = 100  // of brackets, blocks and templates in each other, and signs in a row
	maxWords = 1000 // of words that nest without brackets: "?" and "%{if …}"
)

// tooDeep finds the first token that nests too deeply.
func tooDeep(tokens hclsyntax.Tokens) *hcl.Range {
	depth, signs, words := 0, 0, 0
	for i := range tokens {
		t := &tokens[i]
		switch t.Type {
		case hclsyntax.TokenBang, hclsyntax.TokenMinus:
			signs++
		default:
			signs = 0
		}
		switch t.Type {
		case hclsyntax.TokenOBrace, hclsyntax.TokenOBrack, hclsyntax.TokenOParen, hclsyntax.TokenOQuote, hclsyntax.TokenOHeredoc,
			hclsyntax.TokenTemplateInterp:
			depth++
		case hclsyntax.TokenTemplateControl:
			depth++
			words++
		case hclsyntax.TokenQuestion:
			words++
		case hclsyntax.TokenCBrace, hclsyntax.TokenCBrack, hclsyntax.TokenCParen, hclsyntax.TokenCQuote, hclsyntax.TokenCHeredoc,
			hclsyntax.TokenTemplateSeqEnd:
			depth = max(depth-1, 0)
		}
		if depth > maxDepth || signs > maxDepth || words > maxWords {
			return &t.Range
		}
	}
	return nil
}

// parseConfig is hclsyntax.ParseConfig with a limit on nesting.
func parseConfig(src []byte, name string) (*hcl.File, hcl.Diagnostics) {
	tokens, _ := hclsyntax.LexConfig(src, name, hcl.InitialPos) // its diagnostics come again from the parser
	if r := tooDeep(tokens); r != nil {
		return &hcl.File{Bytes: src, Body: &hclsyntax.Body{}}, deep(*r)
	}
	return hclsyntax.ParseConfig(src, name, hcl.InitialPos)
}

// parseExpression is hclsyntax.ParseExpression with a limit on nesting.
func parseExpression(src []byte, name string) (hclsyntax.Expression, hcl.Diagnostics) {
	tokens, _ := hclsyntax.LexExpression(src, name, hcl.InitialPos)
	if r := tooDeep(tokens); r != nil {
		return nil, deep(*r)
	}
	return hclsyntax.ParseExpression(src, name, hcl.InitialPos)
}

func deep(r hcl.Range) hcl.Diagnostics {
	return hcl.Diagnostics{{Severity: hcl.DiagError, Summary: "Nested too deeply", Subject: &r,
		Detail: "Blocks, brackets and templates may stand in each other up to 100 deep, and a file may hold 1000 conditions."}}
}
