package dbproxy

import (
	"fmt"

	"tshx/internal/tlsroute"
)

// MismatchError says that a client speaks something else than the database it
// was sent to understands.
type MismatchError struct {
	Database string
	Engine   *Engine // the database's
	// Spoken is the engine whose protocol the client speaks; nil for TLS. The
	// same as Engine, it means plain text where TLS is wanted.
	Spoken *Engine
	// Tunnel says that clients are to speak without TLS.
	Tunnel bool
}

func (e *MismatchError) Error() string {
	this := fmt.Sprintf("database %q is %s", e.Database, e.Engine.Title)
	switch e.Spoken {
	case nil:
		if e.Tunnel {
			return this + " behind a tunnel without TLS, but the client started TLS"
		}
		return this + ", whose clients ask before they start TLS, but this one did not"
	case e.Engine:
		return this + " without --tunnel, where clients do TLS themselves, but the client started without"
	}
	return this + ", but the client speaks " + e.Spoken.wire()
}

// Hint says which client, or which mode, would do.
func (e *MismatchError) Hint() string {
	switch {
	case e.Spoken == nil && e.Tunnel:
		return "turn TLS off in the client, or leave out --tunnel"
	case e.Spoken == nil:
		return "turn direct TLS off in the client, or add --tunnel"
	case e.Spoken == e.Engine:
		return "add --tunnel, or turn TLS on in the client"
	}
	return "use " + e.Engine.Clients[0].Program + " or another client of " + e.Engine.Title
}

// wire is the name of an engine's protocol.
func (e *Engine) wire() string {
	if e.Wire != "" {
		return e.Wire
	}
	return e.Title
}

// proof is how many bytes of a client it takes, at least, to know a protocol: a
// client may send its first message in pieces, and one that is in doubt is let
// through.
const proof = 8

// beginsTLS reports whether a client's first bytes are a record of TLS with a
// ClientHello (RFC 8446, sections 4 and 5.1).
func beginsTLS(first []byte) bool {
	const clientHello = 1
	return len(first) >= proof && first[0] == tlsHandshake && first[1] == 3 && first[2] > 0 && first[2] < 5 &&
		first[5] == clientHello
}

// foreign returns the engine whose protocol first is, if it is another one's
// and not e's; nil otherwise. One that shares e's route comes first.
func (e *Engine) foreign(first []byte) *Engine {
	if len(first) < proof || beginsTLS(first) || e.Speaks != nil && e.Speaks(first) {
		return nil
	}
	var found *Engine
	for _, other := range engines {
		if other == e || other.Speaks == nil || !other.Speaks(first) {
			continue
		}
		if other.ALPN == e.ALPN {
			return other
		}
		if found == nil {
			found = other
		}
	}
	return found
}

// judge returns a *MismatchError for the first bytes of a client that can get
// nowhere here.
func (u *Upstream) judge(first []byte) error {
	wrong := func(spoken *Engine) error {
		return &MismatchError{Database: u.Database, Engine: u.Engine, Spoken: spoken, Tunnel: u.Tunnel}
	}
	// Whether the client does TLS at once where it does it itself.
	tlsFirst := !u.Tunnel && tlsroute.HasInnerTLS(u.Engine.ALPN)
	other := u.Engine.foreign(first)
	switch {
	case len(first) < proof:
	case other != nil:
		return wrong(other)
	case beginsTLS(first):
		if !tlsFirst {
			return wrong(nil)
		}
	case u.Tunnel || u.Engine.Speaks == nil || !u.Engine.Speaks(first):
	case tlsFirst, u.Engine.StartsPlain != nil && u.Engine.StartsPlain(first):
		return wrong(u.Engine)
	}
	return nil
}
