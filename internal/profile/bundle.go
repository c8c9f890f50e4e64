package profile

import (
	"bytes"
	"crypto/x509"
	"encoding/pem"
	"errors"

	"tshx/internal/identity"
)

// bundle is an identity file taken apart: everything a login needs in one
// file, as tctl and tbot write it (docs/protocol.md, "Profile directory").
type bundle struct {
	file
	key      *pem.Block // as it stands; parsed when asked for
	sshCert  []byte     // authorized_keys line
	tlsCert  *pem.Block
	cas      []*pem.Block
	hostKeys []byte // @cert-authority lines
}

// parseBundle sorts the parts of an identity file: the first key, the first
// certificate, which is the user's, and the authorities after it. Lines it
// does not know are skipped.
func parseBundle(data []byte) (*bundle, error) {
	b := &bundle{}
	for len(data) > 0 {
		line, rest, _ := bytes.Cut(data, []byte("\n"))
		line = bytes.TrimSpace(line)
		switch {
		case bytes.HasPrefix(line, []byte("-----BEGIN ")):
			block, after, err := nextBlock(data)
			if err != nil {
				return nil, err
			}
			b.add(block)
			rest = after
		case bytes.HasPrefix(line, []byte("@cert-authority")):
			b.hostKeys = append(append(b.hostKeys, line...), '\n')
		case isSSHCert(line):
			b.sshCert = line
		}
		data = rest
	}
	if b.key == nil {
		return nil, errors.New("no private key: not an identity file")
	}
	return b, nil
}

// nextBlock decodes the PEM block that data begins with. Lines may be
// indented, as they are when a file was pasted into YAML.
func nextBlock(data []byte) (*pem.Block, []byte, error) {
	var text []byte
	for len(data) > 0 {
		var line []byte
		line, data, _ = bytes.Cut(data, []byte("\n"))
		line = bytes.TrimSpace(line)
		text = append(append(text, line...), '\n')
		if bytes.HasPrefix(line, []byte("-----END ")) {
			if block, _ := pem.Decode(text); block != nil {
				return block, data, nil
			}
			return nil, nil, errors.New("damaged PEM block")
		}
	}
	return nil, nil, errors.New("PEM block is cut off")
}

func (b *bundle) add(block *pem.Block) {
	switch {
	case isKeyBlock(block.Type):
		if b.key == nil {
			b.key = block
		}
	case block.Type != "CERTIFICATE": // parameters and the like
	case b.tlsCert == nil:
		b.tlsCert = block
	default:
		b.cas = append(b.cas, block)
	}
}

func isSSHCert(line []byte) bool {
	kind, _, _ := bytes.Cut(line, []byte(" "))
	return bytes.HasSuffix(kind, []byte("-cert-v01@openssh.com"))
}

func (b *bundle) leaf() (*x509.Certificate, error) { return x509.ParseCertificate(b.tlsCert.Bytes) }

func (b *bundle) identity() (identity.Identity, error) {
	leaf, err := b.leaf()
	if err != nil {
		return identity.Identity{}, err
	}
	return identity.FromName(leaf.Subject), nil
}
