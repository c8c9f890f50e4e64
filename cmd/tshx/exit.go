package main

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"strings"
	"syscall"

	"tshx/internal/appproxy"
	"tshx/internal/conn"
	"tshx/internal/dbproxy"
	"tshx/internal/localproxy"
	"tshx/internal/plain"
	"tshx/internal/profile"
	"tshx/internal/program"
	"tshx/internal/sshproxy"
	"tshx/internal/tlsroute"
	"tshx/internal/upgrade"
)

// Exit codes. A second signal exits with program.ExitInterrupted.
const (
	exitOK      = 0 // done, or drained after a signal
	exitFailure = 1
	exitUsage   = 2 // the command line
	exitLogin   = 4 // not logged in, the profile is not ours to read, or a certificate is missing, expired or broken
)

// childExit is the exit code of a program that ran in our place and has said
// itself what there was to say.
type childExit int

func (e childExit) Error() string { return fmt.Sprintf("exit code %d", int(e)) }

// fail prints err as one line with what to do next, and returns the exit code.
func fail(env *Env, err error) int {
	if err == nil {
		return exitOK
	}
	var child childExit
	if errors.As(err, &child) {
		return int(child)
	}
	if !readerLeft(err) {
		say(env, explain(err))
	}
	return exitCode(err)
}

// readerLeft reports whether our own output has no reader any more: one who has
// seen enough wants no more words. Broken pipes of the network are not that.
func readerLeft(err error) bool {
	var file *fs.PathError
	return errors.As(err, &file) && file.Op == "write" && conn.PeerGone(file)
}

func exitCode(err error) int {
	var usage *program.UsageError
	var notLoopback *localproxy.NotLoopbackError
	var cert *profile.CertError
	var unreadable *unreadableError
	var target *targetError
	switch {
	case errors.As(err, &usage), errors.As(err, &notLoopback),
		errors.Is(err, profile.ErrBadName), errors.Is(err, profile.ErrProxyRequired):
		return exitUsage
	case errors.Is(err, profile.ErrNotLoggedIn), errors.As(err, &cert), errors.As(err, &target), errors.As(err, &unreadable), errors.Is(err, sshproxy.ErrNoAuthority):
		return exitLogin
	}
	return exitFailure
}

// explain joins an error and its hint into one line that no terminal obeys.
func explain(err error) string {
	line := strings.ReplaceAll(err.Error(), "\n", "; ") // of errors.Join
	if h := hint(err); h != "" {
		line += "; " + h
	}
	return plain.Line(bounded(line), 0)
}

// longestWord is the most bytes of a word in an error: no name, path or URL of good
// faith comes near it, and what to do stands behind it.
const longestWord = 512

// bounded is line with what is left of words that are too long.
func bounded(line string) string {
	if len(line) <= longestWord {
		return line
	}
	words := strings.Fields(line)
	for i, word := range words {
		if len(word) > longestWord {
			words[i] = strings.ToValidUTF8(word[:64], "") + "..."
		}
	}
	return strings.Join(words, " ")
}

// hint says what to do about an error, for those that do not say it themselves.
// Hints that need the error's own data are its Hint method.
func hint(err error) string {
	var (
		taken       *localproxy.PortTakenError
		notLoopback *localproxy.NotLoopbackError
		itself      interface{ Hint() string }
		lost        *tlsroute.RouteLostError
		trust       *tlsroute.TrustError
		hostKey     *sshproxy.HostKeyError
		login       *sshproxy.LoginError
		dns         *net.DNSError
		untrusted   *tls.CertificateVerificationError
		attempts    *upgrade.AttemptsError
		hungUp      *hungUpError
		session     *appproxy.SessionError
	)
	alert, isAlert := upgrade.Alert(err)
	switch {
	case errors.As(err, &taken):
		return "choose another port with --port, or --port 0 for a free one"
	case errors.As(err, &notLoopback):
		return "whoever connects acts as you; add --insecure-listen-anywhere if that is meant"
	case errors.As(err, &itself) && itself.Hint() != "":
		return itself.Hint()
	case errors.As(err, &attempts): // neither got an answer that says more
		return "something in front of the proxy hangs up on connection upgrades, or this is not the proxy's web port: check address and port, and what the balancer or firewall lets pass on " + upgrade.Path
	case errors.As(err, &lost):
		return "something in front of the proxy ends TLS and does not pass it on; --debug shows the decisions"
	case errors.As(err, &trust) && trust.HostCert, errors.As(err, &hostKey):
		return "this is not the cluster you are logged in to, or its CAs were rotated; log in again with tsh login"
	case errors.As(err, &untrusted):
		return trustHint(untrusted)
	case errors.Is(err, sshproxy.ErrNoAuthority):
		return "log in to it with tsh login"
	case errors.As(err, &login):
		return "use another login, or ask for a role that allows it"
	case errors.As(err, &dns):
		return "check the name and your network"
	case isAlert:
		return alertHint(alert)
	case errors.Is(err, tlsroute.ErrHandshakeCut):
		return "the proxy may not know this route, or something in front of it refuses it; --debug shows the decisions"
	case errors.Is(err, dbproxy.ErrNoAnswer):
		return "the server behind it may be down, or your role may not allow it; the proxy's log says which"
	case errors.Is(err, appproxy.ErrClientTLS):
		return "for a web application use http:// in place of https://"
	case errors.Is(err, appproxy.ErrNoAnswer):
		return "is it a TCP application, and running? one of HTTP answers only clients that begin with a request"
	case errors.As(err, &session):
		return "the session may have ended; log in to the application again with tsh apps login"
	case errors.Is(err, syscall.EMFILE), errors.Is(err, syscall.ENFILE):
		return "raise the limit of open files (ulimit -n)"
	case conn.Refused(err):
		return "is the proxy up, and the port right?"
	case errors.As(err, &hungUp):
		return "check the address and that the port is the proxy's web port; a balancer or firewall on the way may refuse it, too"
	case timedOut(err):
		return "no answer in time; check the address, your network and the proxy"
	}
	return ""
}

// alertHint explains a TLS alert (RFC 8446, section 6.2) of the other side.
func alertHint(number uint8) string {
	switch number {
	case 42, 43, 44, 45, 46, 48, 49, 116: // about certificates, and access_denied
		return "the proxy did not take your certificate; log in again with tsh login"
	case 40, 112, 120: // handshake_failure, unrecognized_name, no_application_protocol
		return "something in front of the proxy does not take this server name or protocol; --debug shows the decisions"
	}
	return ""
}

func trustHint(e error) string {
	var unknown x509.UnknownAuthorityError
	var invalid x509.CertificateInvalidError
	switch {
	case errors.As(e, &unknown):
		return "give its CA with --ca-file, or skip the check with --insecure"
	case errors.As(e, &invalid) && invalid.Reason == x509.Expired:
		return "it has to be renewed there, or the clock of this machine is wrong; --insecure skips the check"
	}
	return "check the address; --insecure skips the check"
}
