package reversetunnel

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"tshx/internal/plain"
)

// Bounds of what the other side may say, far above what anybody needs.
const (
	maxMessage = 64 << 10 // bytes of a dial request or a discovery
	maxProxies = 1000
	maxName    = 512 // bytes
)

// DialRequest asks an agent for a connection. It is the payload of RequestDial,
// as JSON.
type DialRequest struct {
	// Address is what to connect to: AddressLocal, or in the legacy form a name.
	Address  string `json:"address,omitempty"`
	ServerID string `json:"server_id,omitempty"` // HOST-UUID.CLUSTER of the agent
	ConnType string `json:"conn_type,omitempty"` // a kind; empty means a node
	Version  string `json:"teleport_version,omitempty"`
	// ClientSrc and ClientDst are the addresses of the client's connection to the
	// proxy, where they are known.
	ClientSrc string `json:"client_src_addr,omitempty"`
	ClientDst string `json:"client_dst_addr,omitempty"`
	// Resource is the name among those of the kind that the agent serves. Real
	// proxies leave it out: there it is in a certificate inside the stream.
	Resource string `json:"tshx_resource,omitempty"`
}

// ParseDial reads the payload of a dial request, JSON or the bare address of old
// proxies.
func ParseDial(payload []byte) (DialRequest, error) {
	var r DialRequest
	text := bytes.TrimSpace(payload)
	switch {
	case len(text) > maxMessage:
		return r, errors.New("dial request: too long")
	case bytes.HasPrefix(text, []byte("{")):
		if err := json.Unmarshal(text, &r); err != nil {
			return DialRequest{}, fmt.Errorf("dial request: %w", err)
		}
	case !utf8.Valid(text):
		return r, errors.New("dial request: an address that is no text")
	default:
		r.Address = string(text)
	}
	for _, s := range []string{r.Address, r.ServerID, r.ConnType, r.Resource} {
		if len(s) > maxName {
			return DialRequest{}, errors.New("dial request: a name is too long")
		}
	}
	if r.Address == "" && r.Resource == "" {
		return DialRequest{}, errors.New("dial request: names nothing to connect to")
	}
	if r.ConnType == "" {
		r.ConnType = KindNode
	}
	return r, nil
}

// Marshal returns the payload of r.
func (r DialRequest) Marshal() []byte {
	b, err := json.Marshal(r)
	if err != nil {
		panic(err) // strings alone
	}
	return b
}

// discovery is the payload of RequestDiscovery.
type discovery struct {
	Proxies []discovered `json:"proxies"`
}

type discovered struct {
	Version  string `json:"version"`
	Metadata struct {
		Name string `json:"name"`
	} `json:"metadata"`
}

// MarshalDiscovery returns the payload that tells an agent the IDs of the
// proxies it is to keep a tunnel to.
func MarshalDiscovery(ids []string) []byte {
	d := discovery{Proxies: make([]discovered, len(ids))}
	for i, id := range ids {
		d.Proxies[i].Version = "v2"
		d.Proxies[i].Metadata.Name = id
	}
	b, err := json.Marshal(d)
	if err != nil {
		panic(err) // strings alone
	}
	return b
}

// ParseDiscovery returns the IDs in a discovery, each once.
func ParseDiscovery(payload []byte) ([]string, error) {
	var d discovery
	if len(payload) > maxMessage {
		return nil, errors.New("discovery: too long")
	}
	if err := json.Unmarshal(payload, &d); err != nil {
		return nil, fmt.Errorf("discovery: %w", err)
	}
	if len(d.Proxies) > maxProxies {
		return nil, fmt.Errorf("discovery: %d proxies are too many", len(d.Proxies))
	}
	var ids []string
	for _, p := range d.Proxies {
		switch id := p.Metadata.Name; {
		case id == "" || len(id) > maxName:
			return nil, errors.New("discovery: a proxy without a proper name")
		case !slices.Contains(ids, id):
			ids = append(ids, id)
		}
	}
	return ids, nil
}

// Resource is one thing that an agent serves.
type Resource struct {
	Kind     string `json:"kind"`
	Name     string `json:"name"`
	Protocol string `json:"protocol,omitempty"` // of a database or an app ("tcp", "http")
}

func (r Resource) String() string { return r.Kind + " " + r.Name }

// Announcement is the payload of RequestResources. It replaces the one before; an
// empty one means that the agent is about to leave.
type Announcement struct {
	Resources []Resource `json:"resources"`
}

// Marshal returns the payload of a.
func (a Announcement) Marshal() []byte {
	b, err := json.Marshal(a)
	if err != nil {
		panic(err) // strings alone
	}
	return b
}

// ParseAnnouncement reads the payload of RequestResources.
func ParseAnnouncement(payload []byte) (Announcement, error) {
	var a Announcement
	if err := json.Unmarshal(payload, &a); err != nil {
		return Announcement{}, fmt.Errorf("announcement: %w", err)
	}
	for _, r := range a.Resources {
		if Roles[r.Kind] == "" {
			return Announcement{}, fmt.Errorf("announcement: unknown kind %q", r.Kind)
		}
		// Names come to stand in command lines that users copy.
		if r.Name == "" || len(r.Name) > maxName || plain.Copyable(r.Name) != r.Name {
			return Announcement{}, fmt.Errorf("announcement: a %s without a proper name", r.Kind)
		}
	}
	return a, nil
}

// HasRole reports whether role is among those of a host certificate's extension.
func HasRole(extension, role string) bool {
	for r := range strings.SplitSeq(extension, ",") {
		if strings.EqualFold(strings.TrimSpace(r), role) {
			return true
		}
	}
	return false
}
