package admin

import (
	"encoding/json"
	"fmt"
	"net/http"
)

// Problem is what an error's answer says: {"error": {...}}.
type Problem struct {
	Status    int      `json:"status"`
	Message   string   `json:"message"`
	Endpoints []string `json:"endpoints,omitempty"` // what there is, where something else was asked for
	Detail    any      `json:"detail,omitempty"`
}

// JSON answers with a value.
func JSON(w http.ResponseWriter, code int, v any) {
	h := w.Header()
	h.Set("Content-Type", "application/json")
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(code)
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	_ = e.Encode(v) // the reader may have gone
}

// Error answers with an error in the shape that all of the API has.
func Error(w http.ResponseWriter, code int, format string, args ...any) {
	WriteError(w, code, Problem{Message: fmt.Sprintf(format, args...)})
}

// WriteError is Error with more to say.
func WriteError(w http.ResponseWriter, code int, p Problem) {
	p.Status = code
	JSON(w, code, map[string]Problem{"error": p})
}
