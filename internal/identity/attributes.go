package identity

import "encoding/asn1"

// attribute ties an object identifier of the subject to the field of Identity
// that it fills: exactly one of one and many is set.
type attribute struct {
	oid  asn1.ObjectIdentifier
	one  func(*Identity) *string
	many func(*Identity) *[]string // the attribute repeats, once per value
}

func (a *attribute) set(id *Identity, value string) {
	if a.one != nil {
		*a.one(id) = value
		return
	}
	values := a.many(id)
	*values = append(*values, value)
}

func (a *attribute) get(id *Identity) []string {
	if a.one != nil {
		return list(*a.one(id))
	}
	return *a.many(id)
}

// attributes are the extra subject attributes in the order they are written
// (docs/protocol.md, "X.509 identity").
var attributes = []attribute{
	{oid: oid(1, 1), many: func(i *Identity) *[]string { return &i.KubeUsers }},
	{oid: oid(1, 2), many: func(i *Identity) *[]string { return &i.KubeGroups }},
	{oid: oid(1, 3), one: func(i *Identity) *string { return &i.KubeCluster }},
	{oid: oid(1, 4), one: func(i *Identity) *string { return &i.App.SessionID }},
	{oid: oid(1, 6), one: func(i *Identity) *string { return &i.App.PublicAddr }},
	{oid: oid(1, 5), one: func(i *Identity) *string { return &i.App.Cluster }},
	{oid: oid(1, 10), one: func(i *Identity) *string { return &i.App.Name }},
	{oid: oid(1, 11), one: func(i *Identity) *string { return &i.App.AWSRoleARN }},
	{oid: oid(1, 12), many: func(i *Identity) *[]string { return &i.AWSRoleARNs }},
	{oid: oid(1, 16), one: func(i *Identity) *string { return &i.App.AzureIdentity }},
	{oid: oid(1, 17), many: func(i *Identity) *[]string { return &i.AzureIdentities }},
	{oid: oid(1, 18), one: func(i *Identity) *string { return &i.App.GCPServiceAccount }},
	{oid: oid(1, 19), many: func(i *Identity) *[]string { return &i.GCPServiceAccounts }},
	{oid: oid(1, 7), one: func(i *Identity) *string { return &i.TeleportCluster }},
	{oid: oid(1, 8), one: func(i *Identity) *string { return &i.MFADevice }},
	{oid: oid(1, 9), one: func(i *Identity) *string { return &i.LoginIP }},
	{oid: oid(2, 1), one: func(i *Identity) *string { return &i.Database.Service }},
	{oid: oid(2, 2), one: func(i *Identity) *string { return &i.Database.Protocol }},
	{oid: oid(2, 3), one: func(i *Identity) *string { return &i.Database.User }},
	{oid: oid(2, 4), one: func(i *Identity) *string { return &i.Database.Name }},
	{oid: oid(2, 19), many: func(i *Identity) *[]string { return &i.Database.Roles }},
	{oid: oid(2, 5), many: func(i *Identity) *[]string { return &i.AllowedDBNames }},
	{oid: oid(2, 6), many: func(i *Identity) *[]string { return &i.AllowedDBUsers }},
	{oid: oid(2, 7), one: func(i *Identity) *string { return &i.Impersonator }},
	{oid: oid(2, 8), many: func(i *Identity) *[]string { return &i.AccessRequests }},
	{oid: oid(1, 15), one: func(i *Identity) *string { return &i.PrivateKeyPolicy }},
	{oid: oid(2, 15), one: func(i *Identity) *string { return &i.PinnedIP }},
	{oid: oid(1, 20), one: func(i *Identity) *string { return &i.UserType }},
	{oid: oid(2, 18), one: func(i *Identity) *string { return &i.Bot }},
}

func oid(arc, n int) asn1.ObjectIdentifier {
	return asn1.ObjectIdentifier{1, 3, 9999, arc, n}
}
