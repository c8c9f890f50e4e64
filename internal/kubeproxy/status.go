package kubeproxy

import (
	"bytes"
	"encoding/json"
	"io"
	"mime"
	"net/http"
	"strings"
	"unicode"

	"tshx/internal/tlsroute"
)

// status is the Status of the Kubernetes API, version v1.
type status struct {
	Kind       string   `json:"kind"`
	APIVersion string   `json:"apiVersion"`
	Metadata   struct{} `json:"metadata"`
	Status     string   `json:"status"`
	Message    string   `json:"message"`
	Reason     string   `json:"reason"` // one word for programs
	Code       int      `json:"code"`
}

// reasons are the API's words for codes, where it has one. kubectl prints them.
var reasons = map[int]string{
	http.StatusBadRequest:     "BadRequest",
	http.StatusUnauthorized:   "Unauthorized",
	http.StatusNotFound:       "NotFound",
	http.StatusBadGateway:     "BadGateway", // ours
	http.StatusGatewayTimeout: "Timeout",
}

// answer is an error of ours to a request.
type answer struct {
	code int
	text string
}

// writeStatus answers r with an error.
func writeStatus(w http.ResponseWriter, r *http.Request, a *answer) {
	body, _ := json.Marshal(status{ // strings and a number
		Kind: "Status", APIVersion: "v1", Status: "Failure",
		Message: a.text, Reason: reasons[a.code], Code: a.code,
	})
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	if !resourcePath(r.URL.Path) {
		w.Header().Set("Warning", warning(a.text))
	}
	w.WriteHeader(a.code)
	w.Write(append(body, '\n'))
}

// resourcePath reports whether a path is that of objects. kubectl prints the
// message of a Status only there: of one that answers its questions about the API
// it makes words of its own, by the code. It prints warnings in any case.
func resourcePath(path string) bool {
	if _, _, rest, err := tlsroute.ParseKubePath(path); err == nil {
		path = rest
	}
	parts := strings.Split(strings.Trim(path, "/"), "/")
	return parts[0] == "api" && len(parts) > 2 || parts[0] == "apis" && len(parts) > 3
}

// warnMost is the longest answer that is looked into.
const warnMost = 64 << 10

// warn adds to an upstream's Status what kubectl does not show of it otherwise.
func warn(res *http.Response) error {
	media, _, _ := mime.ParseMediaType(res.Header.Get("Content-Type"))
	if res.StatusCode < 400 || media != "application/json" || res.ContentLength <= 0 || res.ContentLength > warnMost ||
		res.Header.Get("Warning") != "" || resourcePath(res.Request.URL.Path) {
		return nil
	}
	body, err := io.ReadAll(res.Body)
	if err != nil {
		return err
	}
	res.Body.Close()
	res.Body = io.NopCloser(bytes.NewReader(body))
	var s status
	if json.Unmarshal(body, &s) == nil && s.Kind == "Status" && s.Message != "" {
		res.Header.Set("Warning", warning(s.Message))
	}
	return nil
}

// warning is the value of a Warning header (RFC 7234, section 5.5).
func warning(text string) string {
	text = strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return ' '
		}
		return r
	}, text)
	return `299 - "` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(text) + `"`
}
