//go:build linux

package integration

import (
	"slices"
	"testing"
	"time"
)

// carrier is something that must work on every transport, with clients that
// people use.
type carrier struct {
	name string
	run  func(t *testing.T, tr *transport)
}

var carriers = []carrier{
	{"ssh", sshSession},
	{"scp", sshCopy},
	{"sftp", sshFTP},
	{"rsync", sshRsync},
	{"ssh forwarding", sshForward},
	{"postgres plain", func(t *testing.T, tr *transport) { postgresClients(t, tr, false) }},
	{"postgres tunnel", func(t *testing.T, tr *transport) { postgresClients(t, tr, true) }},
	{"mysql plain", func(t *testing.T, tr *transport) { mysqlClients(t, tr, false) }},
	{"mysql tunnel", func(t *testing.T, tr *transport) { mysqlClients(t, tr, true) }},
	{"redis plain", func(t *testing.T, tr *transport) { redisClients(t, tr, false) }},
	{"redis tunnel", func(t *testing.T, tr *transport) { redisClients(t, tr, true) }},
}

// TestMatrix runs every carrier on every transport.
func TestMatrix(t *testing.T) {
	for _, tt := range transports {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			for _, c := range slices.Concat(carriers, databaseCarriers()) {
				t.Run(c.name, func(t *testing.T) {
					t.Parallel()
					nothingLeft(t)
					c.run(t, tt.get(t))
				})
			}
		})
	}
}

// TestBulk compares many bytes in both directions at once on every transport.
func TestBulk(t *testing.T) {
	const size = 256 << 20
	for _, tt := range transports {
		t.Run(tt.name, func(t *testing.T) {
			p := tt.get(t).start(t, "proxy", "app", "bulk")
			c := dial(t, p.lineAfter("address: "))
			defer c.Close()
			start := time.Now()
			if err := bulk(c, size, size); err != nil {
				t.Fatal(err)
			}
			t.Logf("%d MiB in each direction in %v", size>>20, time.Since(start).Round(time.Millisecond))
		})
	}
}
