package dbproxy

import (
	"fmt"
	"net"
)

// tlsHandshake begins the first record of a TLS client (RFC 8446, section 5.1).
const tlsHandshake = 22

// refuseTLS answers a TLS client, which can be told no sentence: an alert takes
// the place of a connection that just ends (RFC 8446, section 6.2). What the
// client has sent is not looked at.
func refuseTLS(client net.Conn, r Refusal) error {
	const certificateExpired, internalError = 45, 80
	alert := byte(internalError)
	if r.Login {
		alert = certificateExpired // which it is, nearly always
	}
	if _, err := client.Write([]byte{21, 3, 3, 0, 2, 2, alert}); err != nil {
		return fmt.Errorf("refuse a TLS client: %w", err)
	}
	return nil
}
