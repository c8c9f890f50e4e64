package upgrade

import "strings"

// Names of the environment variables whose values FromEnv and MethodFromEnv read.
const (
	EnvRequired = "TELEPORT_TLS_ROUTING_CONN_UPGRADE"
	EnvMethod   = "TELEPORT_TLS_ROUTING_CONN_UPGRADE_MODE"
)

// FromEnv reads a value of EnvRequired for the dialled address, a host:port. It
// is decided whenever the value is not empty; no test connection is needed then.
//
// The value is a list of tokens between commas or semicolons. The first
// "addr=bool" for exactly this address wins, and is false when it does not
// parse. Otherwise the last bare bool wins, and without one the answer is
// false (docs/protocol.md, "Detection"). Spaces around a token do not count.
func FromEnv(value, addr string) (required, decided bool) {
	if value == "" {
		return false, false
	}
	isSep := func(r rune) bool { return r == ',' || r == ';' }
	for token := range strings.FieldsFuncSeq(value, isSep) {
		token = strings.TrimSpace(token)
		if host, word, ok := strings.Cut(token, "="); ok {
			if host == addr {
				b, _ := ParseBool(word)
				return b, true
			}
			continue
		}
		if b, ok := ParseBool(token); ok {
			required = b
		}
	}
	return required, true
}

// MethodFromEnv reads a value of EnvMethod: "legacy" in any case, all else
// means Auto.
func MethodFromEnv(value string) Method {
	if strings.EqualFold(value, string(Legacy)) {
		return Legacy
	}
	return Auto
}

// ParseBool reads the words for true and false that Teleport takes in environment
// variables, in any case.
func ParseBool(word string) (value, ok bool) {
	switch strings.ToLower(word) {
	case "true", "yes", "yeah", "y", "1", "on":
		return true, true
	case "false", "no", "nope", "n", "0", "off":
		return false, true
	}
	return false, false
}
