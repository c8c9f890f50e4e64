package main

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// appPort is the value of --port for applications: LOCAL or LOCAL:TARGET.
type appPort struct {
	local  *uint16 // nil is not given
	target uint16  // 0 is not given
}

// UnmarshalText takes both forms.
func (p *appPort) UnmarshalText(text []byte) error {
	local, target, both := strings.Cut(string(text), ":")
	n, err := strconv.ParseUint(local, 10, 16)
	if err != nil {
		return fmt.Errorf("%q is not a port number", local)
	}
	port := uint16(n)
	*p = appPort{local: &port}
	if !both {
		return nil
	}
	if n, err = strconv.ParseUint(target, 10, 16); err != nil || n == 0 {
		return fmt.Errorf("%q is not the port of an application", target)
	}
	p.target = uint16(n)
	return nil
}

// targetError says that a certificate does not lead to the port that is wanted.
// Which one it is for is decided when it is made.
type targetError struct {
	what   string // the application
	target uint16
	renew  string // the command that makes one for it
}

func (e *targetError) Error() string {
	return fmt.Sprintf("%s certificate is not for its port %d", e.what, e.target)
}

// Hint says what to do.
func (e *targetError) Hint() string { return "run: " + e.renew }

// forTarget is read for a certificate that has to lead to this port of its
// application. renew is the command that makes one for any.
func forTarget(target uint16, what, renew string, read func() (*tls.Certificate, error)) func() (*tls.Certificate, error) {
	return func() (*tls.Certificate, error) {
		cert, err := read()
		if err == nil && !leadsTo(cert.Leaf, target) {
			return nil, &targetError{what, target, fmt.Sprintf("%s --target-port %d", renew, target)}
		}
		return cert, err
	}
}

// lastKnown is the last number in the arc of resources of which the meaning is
// known (docs/protocol.md, "X.509 identity"). The port of an application came
// later, under a number that is not documented.
const lastKnown = 20

// leadsTo reports whether a certificate names this port of its application. It is
// told by the value, in those attributes that are not about something else.
func leadsTo(leaf *x509.Certificate, target uint16) bool {
	arc := []int{1, 3, 9999, 1}
	for _, attribute := range leaf.Subject.Names {
		oid := attribute.Type
		if len(oid) == len(arc)+1 && slices.Equal(oid[:len(arc)], arc) && oid[len(arc)] > lastKnown &&
			attribute.Value == strconv.Itoa(int(target)) {
			return true
		}
	}
	return false
}
