package profile

import (
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"time"

	"tshx/internal/plain"
)

var (
	// ErrNotLoggedIn says that there is no profile to use. The text of the
	// error around it names the command that logs in.
	ErrNotLoggedIn = errors.New("not logged in")
	// ErrBadName refuses a name that cannot be a file name.
	ErrBadName = errors.New("not a usable name")
	// ErrProxyRequired says that an identity file was given and no proxy: the
	// file does not name one.
	ErrProxyRequired = errors.New("an identity file needs the proxy's address too: add --proxy=HOST:PORT")
	// ErrKeyEncrypted says that a private key has a passphrase.
	ErrKeyEncrypted = errors.New("private key is protected by a passphrase, which is not supported")
	// ErrKeyInHardware says that a private key is in a security key (PIV).
	ErrKeyInHardware = errors.New("private key is in a hardware security key (PIV), which is not supported")
)

// Problem is why a certificate cannot be used.
type Problem int

// The problems a certificate can have. Zero is none.
const (
	Missing  Problem = iota + 1 // there is none
	Expired                     // its time is over
	NotYet                      // its time has not come
	Mismatch                    // it does not belong to the private key beside it
	Broken                      // it or its key cannot be read
)

// String is one lower-case word, as in JSON output.
func (p Problem) String() string {
	switch p {
	case 0:
		return "ok"
	case Missing:
		return "missing"
	case Expired:
		return "expired"
	case NotYet:
		return "not yet valid"
	case Mismatch:
		return "mismatch"
	case Broken:
		return "broken"
	}
	return fmt.Sprintf("problem %d", int(p))
}

// CertError says in one line which certificate, authority or key of a login
// cannot be used, why, and what to do about it.
type CertError struct {
	What    string // such as `database "orders" certificate`
	Path    string // the file at fault
	Problem Problem
	When    time.Time // end of validity for Expired, its start for NotYet
	Now     time.Time // when it was checked
	Renew   string    // the command that makes a new one; may be empty

	Names    []string // Missing: those there are certificates for
	Nearest  string   // Missing: the one of Names that may have been meant
	Clusters []string // Missing: other clusters with a certificate of this name
	Err      error    // cause, if any

	fresh bool // the files changed a moment ago, reading again may help
}

// Error is one line.
func (e *CertError) Error() string {
	text := e.What + " " + e.problem()
	switch {
	case e.Renew == "":
	case e.Problem == Missing && e.Nearest != "": // the command has the name as it was given
		text += "; if not, run: " + e.Renew
	default:
		text += "; run: " + e.Renew
	}
	return plain.Line(text, 0)
}

// Unwrap is the cause.
func (e *CertError) Unwrap() error { return e.Err }

func (e *CertError) problem() string {
	switch e.Problem {
	case Missing:
		return "not found" + e.others()
	case Expired:
		return fmt.Sprintf("expired %s (%s ago)", timestamp(e.When), RoundAge(e.Now.Sub(e.When)))
	case NotYet:
		return fmt.Sprintf("is not valid before %s (in %s; is the clock of this machine right?)",
			timestamp(e.When), RoundAge(e.When.Sub(e.Now)))
	case Mismatch:
		return "does not belong to its private key (" + e.Path + ")"
	}
	if e.Err == nil {
		return "cannot be used (" + e.Path + ")"
	}
	return fmt.Sprintf("cannot be used (%s: %v)", e.Path, e.Err)
}

// others is the part of the text that helps to find the right one.
func (e *CertError) others() string {
	var hints []string
	if len(e.Names) > 0 {
		hints = append(hints, "there are "+plain.Some(e.Names, ", "))
	}
	if len(e.Clusters) > 0 {
		hints = append(hints, "there is one for --cluster="+strings.Join(e.Clusters, " and --cluster="))
	}
	if e.Err != nil && !errors.Is(e.Err, fs.ErrNotExist) {
		hints = append(hints, e.Err.Error())
	}
	if len(hints) == 0 {
		hints = append(hints, e.Path)
	}
	text := " (" + strings.Join(hints, "; ") + ")"
	if e.Nearest != "" {
		return fmt.Sprintf(", did you mean %q?", e.Nearest) + text
	}
	return text
}

// timestamp is an absolute time for people, in UTC.
func timestamp(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05 UTC") }

// RoundAge says a duration in its one fitting unit: "40 seconds", "3 days".
func RoundAge(d time.Duration) string {
	for _, unit := range []struct {
		size time.Duration
		from time.Duration
		name string
	}{
		{24 * time.Hour, 48 * time.Hour, "day"},
		{time.Hour, 2 * time.Hour, "hour"},
		{time.Minute, 2 * time.Minute, "minute"},
		{time.Second, 0, "second"},
	} {
		if d = max(d, 0); d >= unit.from {
			n := d.Round(unit.size) / unit.size
			if n == 1 {
				return "1 " + unit.name
			}
			return fmt.Sprintf("%d %ss", n, unit.name)
		}
	}
	return "0 seconds"
}

// cause strips the path off a file error, since Path already says it.
func cause(err error) error {
	var pe *fs.PathError
	if errors.As(err, &pe) {
		return pe.Err
	}
	return err
}
