package dbproxy

import (
	"cmp"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"time"

	"github.com/jackc/pgx/v5/pgproto3"

	"tshx/internal/conn"
)

// Codes of a PostgreSQL packet without a type byte, which follow its length
// (PostgreSQL documentation, "Message Formats").
const (
	postgresVersion    = 3 // major version of a StartupMessage
	postgresCancelCode = 1234<<16 | 5678
	postgresTLSCode    = 1234<<16 | 5679
	postgresGSSCode    = 1234<<16 | 5680
	postgresLongest    = 10_000 // of a packet; servers refuse more
)

// postgresCancel recognises a CancelRequest. Clients send it in plain on a new
// connection even when the session it cancels is encrypted, so that no
// certificate of the client's own can accompany it.
func postgresCancel(client net.Conn) (net.Conn, bool, error) {
	head := make([]byte, lookBytes)
	n, err := io.ReadAtLeast(client, head, 8)
	replay := conn.Buffered(client, head[:n])
	if err != nil { // a port scan, a probe that sends nothing, a reset
		return nil, false, fmt.Errorf("%w before its first message: %w", conn.ErrClientGone, err)
	}
	return replay, postgresCancels(head), nil
}

// postgresCancels reports whether a packet of at least 8 bytes begins a
// CancelRequest: length, code, process and a key, which may have up to 256 bytes
// since protocol 3.2.
func postgresCancels(head []byte) bool {
	const least, most = 12, 12 + 256
	length := binary.BigEndian.Uint32(head)
	return length >= least && length <= most && binary.BigEndian.Uint32(head[4:]) == postgresCancelCode
}

// postgresUnanswered recognises a CancelRequest that came whole and alone.
func postgresUnanswered(first []byte) bool {
	return len(first) >= 8 && postgresCancels(first) && uint64(binary.BigEndian.Uint32(first)) == uint64(len(first))
}

// postgresSpeaks knows the packets that begin a connection by their length and
// their code.
func postgresSpeaks(first []byte) bool {
	length, code := binary.BigEndian.Uint32(first), binary.BigEndian.Uint32(first[4:])
	if length < 8 || length > postgresLongest {
		return false
	}
	return code>>16 == postgresVersion || code == postgresCancelCode || code == postgresTLSCode || code == postgresGSSCode
}

// postgresStartsPlain reports whether a client begins its session without
// asking for TLS.
func postgresStartsPlain(first []byte) bool {
	return postgresSpeaks(first) && binary.BigEndian.Uint32(first[4:])>>16 == postgresVersion
}

// postgresRefuse sends an error in answer to the StartupMessage, which all
// clients show. In a tunnel they get there after "no" to TLS.
//
// In plain mode they insist on TLS, and nothing of ours can reach their users in
// full: since the releases of November 2024 libpq does not show an error that
// comes in the place of TLS (CVE-2024-10977), and "no" to TLS is told as a server
// without TLS. So a login that ran out is told by a TLS alert, which psql words
// well. For the rest it is the error: psql then says that the server sent one,
// older ones show it. A client that does not insist asks again without TLS after
// either and is told then.
func postgresRefuse(client net.Conn, r Refusal) error {
	b := pgproto3.NewBackend(client, client)
	for range 3 { // TLS and GSS encryption are asked for once each
		m, err := b.ReceiveStartupMessage()
		switch m.(type) {
		case *pgproto3.CancelRequest:
			return nil // nobody reads an answer
		case *pgproto3.GSSEncRequest:
		case *pgproto3.SSLRequest:
			if !r.Tunnel {
				return postgresRefuseTLS(client, b, r)
			}
		default:
			if conn.Orderly(err) && err != nil || isTimeout(err) {
				return fmt.Errorf("refuse a PostgreSQL client: %w", err)
			}
			return postgresError(b, r) // to a protocol of the future, too
		}
		if _, err := client.Write([]byte("N")); err != nil {
			return fmt.Errorf("refuse a PostgreSQL client: %w", err)
		}
	}
	return postgresError(b, r)
}

func postgresRefuseTLS(client net.Conn, b *pgproto3.Backend, r Refusal) error {
	if !r.Login {
		return postgresError(b, r)
	}
	if _, err := client.Write([]byte("S")); err != nil {
		return fmt.Errorf("refuse a PostgreSQL client: %w", err)
	}
	// libpq takes what comes with the "S" for an attack.
	if _, err := client.Read(make([]byte, lookBytes)); err != nil {
		return fmt.Errorf("refuse a PostgreSQL client: %w", err)
	}
	return refuseTLS(client, r)
}

// postgresError is the last message of a server (SQLSTATE: PostgreSQL
// documentation, "Error Codes").
func postgresError(b *pgproto3.Backend, r Refusal) error {
	const badLogin, noConnection = "28000", "08001"
	code := noConnection
	if r.Login {
		code = badLogin
	}
	b.Send(&pgproto3.ErrorResponse{Severity: "FATAL", SeverityUnlocalized: "FATAL", Code: code, Message: asciiLine(r.Text)})
	if err := b.Flush(); err != nil {
		return fmt.Errorf("refuse a PostgreSQL client: %w", err)
	}
	return nil
}

func postgresPing(_ context.Context, c net.Conn, at Endpoint) (Pong, error) {
	return postgresSession(c, map[string]string{"user": at.User, "database": cmp.Or(at.Name, "postgres")})
}

func cockroachdbPing(_ context.Context, c net.Conn, at Endpoint) (Pong, error) {
	return postgresSession(c, map[string]string{"user": at.User, "database": cmp.Or(at.Name, "defaultdb")})
}

// postgresSession logs in as far as that goes without a password. A server tells
// its version in the login; the round trip is that of an empty query.
func postgresSession(c net.Conn, parameters map[string]string) (Pong, error) {
	parameters["application_name"] = "tshx"
	f := pgproto3.NewFrontend(c, c)
	f.SetMaxBodyLen(1 << 20)
	f.Send(&pgproto3.StartupMessage{ProtocolVersion: pgproto3.ProtocolVersion30, Parameters: parameters})
	var pong Pong
	if err := postgresUntilReady(f, &pong); err != nil || pong.Note != "" {
		return pong, err
	}
	start := time.Now()
	f.Send(&pgproto3.Query{String: ";"})
	err := postgresUntilReady(f, &pong)
	pong.RoundTrip = time.Since(start)
	f.Send(&pgproto3.Terminate{})
	f.Flush() // a farewell; nothing is wrong without
	return pong, err
}

// postgresUntilReady sends what is queued and reads until the server waits for
// a query, wants a password or refuses.
func postgresUntilReady(f *pgproto3.Frontend, pong *Pong) error {
	start := time.Now()
	if err := f.Flush(); err != nil {
		return fmt.Errorf("write to the server: %w", err)
	}
	for {
		m, err := f.Receive()
		if err != nil {
			return fmt.Errorf("read from the server: %w", err)
		}
		switch m := m.(type) {
		case *pgproto3.ReadyForQuery:
			return nil
		case *pgproto3.ParameterStatus:
			switch {
			case m.Name == "server_version" && pong.Version == "":
				pong.Version = m.Value
			case m.Name == "crdb_version":
				pong.Version = m.Value
			}
		case *pgproto3.ErrorResponse:
			return &ServerError{Code: m.Code, Text: m.Message}
		case *pgproto3.AuthenticationOk, *pgproto3.BackendKeyData, *pgproto3.NoticeResponse,
			*pgproto3.NegotiateProtocolVersion, *pgproto3.EmptyQueryResponse:
		case pgproto3.AuthenticationResponseMessage:
			pong.Note, pong.RoundTrip = "the server wants a password", time.Since(start)
			return nil
		default:
			return fmt.Errorf("read from the server: unexpected %T", m)
		}
	}
}
