package httproute

import (
	"context"
	"errors"
	"net"
	"net/http"

	"tshx/internal/upgrade"
)

// CertError says that there is no certificate to show to the proxy.
type CertError struct{ Err error }

func (e *CertError) Error() string { return e.Err.Error() }
func (e *CertError) Unwrap() error { return e.Err }

// StatusOf says with which code the failure of an upstream is answered: 401 where
// the certificate is missing or was refused, 504 where nothing came in time, else
// 502.
func StatusOf(err error) int {
	var cert *CertError
	var timeout net.Error
	alert, isAlert := upgrade.Alert(err)
	switch {
	case errors.As(err, &cert), isAlert && aboutCertificate(alert):
		return http.StatusUnauthorized
	case errors.Is(err, context.DeadlineExceeded), errors.As(err, &timeout) && timeout.Timeout():
		return http.StatusGatewayTimeout
	}
	return http.StatusBadGateway
}

// aboutCertificate reports whether an alert (RFC 8446, section 6.2) says that the
// proxy did not take the client's certificate.
func aboutCertificate(alert uint8) bool {
	return alert >= 42 && alert <= 46 || alert == 48 || alert == 49 || alert == 116
}
