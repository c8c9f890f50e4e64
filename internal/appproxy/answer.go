package appproxy

import (
	_ "embed"
	"encoding/json"
	"fmt"
	"html"
	"mime"
	"net/http"
	"strconv"
	"strings"
)

// answer is an answer of our own, in place of the application.
type answer struct {
	code int
	name string // of the application
	Advice
}

// write answers r in the form that its client understands.
func (a *answer) write(w http.ResponseWriter, r *http.Request) {
	form := wanted(r.Header.Values("Accept"))
	body := a.text
	switch form {
	case "application/json":
		body = a.json
	case "text/html":
		body = a.html
		w.Header().Set("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'")
	}
	w.Header().Set("Content-Type", form+"; charset=utf-8")
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(a.code)
	w.Write([]byte(body()))
}

// wanted picks what the client likes best of the forms there are. Only one that
// asks for a page or for JSON by name gets it.
func wanted(accept []string) string {
	best, form := 0.0, "text/plain"
	for _, item := range strings.Split(strings.Join(accept, ","), ",") {
		media, params, err := mime.ParseMediaType(strings.TrimSpace(item))
		if err != nil {
			continue
		}
		q := 1.0
		if text, ok := params["q"]; ok {
			if q, err = strconv.ParseFloat(text, 64); err != nil {
				continue
			}
		}
		switch {
		case media == "application/json" || strings.HasSuffix(media, "+json"):
			media = "application/json"
		case media == "text/html", media == "text/plain":
		default:
			continue
		}
		if q > best {
			best, form = q, media
		}
	}
	return form
}

// advice is what to do, in one line, with the command; it may be empty.
func (a *answer) advice() string {
	if a.Command == "" {
		return a.Hint
	}
	run := "run: " + a.Command
	if a.Hint == "" {
		return run
	}
	return a.Hint + "; " + run
}

// message says what it is about, unless the error does so itself.
func (a *answer) message() string {
	if strings.Contains(a.Message, strconv.Quote(a.name)) {
		return a.Message
	}
	return title(a.name) + ": " + a.Message
}

func (a *answer) text() string {
	line := a.message()
	if advice := a.advice(); advice != "" {
		line += "; " + advice
	}
	return line + "\n"
}

func (a *answer) json() string {
	type failure struct {
		Message string `json:"message"`
		Hint    string `json:"hint"`
	}
	var b strings.Builder
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	enc.Encode(map[string]failure{"error": {a.message(), a.advice()}}) // strings, into memory
	return b.String()
}

//go:embed page.html
var page string

func (a *answer) html() string {
	var hint string
	if a.Hint != "" {
		hint += "<p>" + html.EscapeString(a.Hint) + "</p>"
	}
	if a.Command != "" {
		hint += "<p>Run this, and then load the page again:</p><pre>" + html.EscapeString(a.Command) + "</pre>"
	}
	return strings.NewReplacer(
		"{code}", fmt.Sprint(a.code), "{status}", html.EscapeString(http.StatusText(a.code)),
		"{title}", html.EscapeString(title(a.name)), "{message}", html.EscapeString(a.Message), "{hint}", hint,
	).Replace(page)
}
