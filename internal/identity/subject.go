package identity

import (
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
)

// ErrNotIdentity is returned for a certificate whose subject lacks a common
// name or a role, as those of web servers and authorities do.
var ErrNotIdentity = errors.New("certificate carries no identity (needs a common name and a role)")

// FromCertificate reads the subject of c. It fails with ErrNotIdentity when
// the subject names no user or no role.
func FromCertificate(c *x509.Certificate) (Identity, error) {
	id := FromName(c.Subject)
	if id.User == "" || len(id.Roles) == 0 {
		return id, ErrNotIdentity
	}
	return id, nil
}

// FromName reads a subject as crypto/x509 parsed it, or as Name built it.
// Attributes of other origin are ignored, and so is an incomplete app route.
func FromName(n pkix.Name) Identity {
	id := Identity{
		User:           n.CommonName,
		Roles:          n.Organization,
		Logins:         n.Locality,
		Usage:          n.OrganizationalUnit,
		RouteToCluster: first(n.StreetAddress),
		Traits:         first(n.PostalCode),
	}
	names := n.Names // all attributes of a parsed subject
	if len(names) == 0 {
		names = n.ExtraNames
	}
	for _, a := range names {
		value, ok := a.Value.(string)
		if !ok || value == "" {
			continue
		}
		for i := range attributes {
			if attributes[i].oid.Equal(a.Type) {
				attributes[i].set(&id, value)
			}
		}
	}
	if !id.App.Present() {
		id.App = App{}
	}
	if !id.Database.Present() {
		id.Database = Database{}
	}
	return id
}

// Name is the subject that says id; FromName(id.Name()) is id again. It is
// meant for the Subject of a certificate template.
func (id Identity) Name() pkix.Name {
	n := pkix.Name{
		CommonName:         id.User,
		Organization:       id.Roles,
		Locality:           id.Logins,
		OrganizationalUnit: id.Usage,
		StreetAddress:      list(id.RouteToCluster),
		PostalCode:         list(id.Traits),
	}
	for i := range attributes {
		for _, value := range attributes[i].get(&id) {
			n.ExtraNames = append(n.ExtraNames, pkix.AttributeTypeAndValue{Type: attributes[i].oid, Value: value})
		}
	}
	return n
}

// ClusterOf is the name of the cluster whose authority issued c: the issuer's
// common name or, without one, its organization. It is empty if there is
// neither.
func ClusterOf(c *x509.Certificate) string {
	if c.Issuer.CommonName != "" {
		return c.Issuer.CommonName
	}
	return first(c.Issuer.Organization)
}

func first(values []string) string {
	if len(values) == 0 {
		return ""
	}
	return values[0]
}

func list(value string) []string {
	if value == "" {
		return nil
	}
	return []string{value}
}
