//go:build linux

package peer_test

import (
	"bytes"
	"testing"

	"tshx/integration/peer"
)

// TestCassandra: what is stored comes back, in frames of any size.
func TestCassandra(t *testing.T) {
	acct := peer.Account{User: "alice"}
	srv := need(t, func() (*peer.Server, error) { return peer.StartCassandra(acct) })
	defer srv.Close()
	s, err := peer.DialCassandra(srv.Addr, acct)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	want := bytes.Repeat([]byte("tshx"), 1<<20)
	if err := s.Query("insert into tshx.blobs (id, data) values (?, ?)", 1, want).Exec(); err != nil {
		t.Fatal(err)
	}
	var got []byte
	if err := s.Query("select data from tshx.blobs where id = ?", 1).Scan(&got); err != nil || !bytes.Equal(got, want) {
		t.Errorf("%d bytes, %v", len(got), err)
	}
	if s, err := peer.DialCassandra(srv.Addr, peer.Account{User: "mallory"}); err == nil {
		s.Close()
		t.Error("mallory got in")
	}
}
