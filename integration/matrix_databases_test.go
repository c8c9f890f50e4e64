//go:build linux

package integration

import (
	"bytes"
	"context"
	"crypto/sha256"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	mongooptions "go.mongodb.org/mongo-driver/v2/mongo/options"

	"tshx/integration/peer"
)

// databaseCarriers are a round trip by each client, and many bytes where a
// server keeps them. SQL Server and Elasticsearch are recorded, Cassandra is a
// library's; the others are real.
func databaseCarriers() []carrier {
	list := []carrier{
		{"mongodb bulk", mongodbBulk},
		{"clickhouse bulk", func(t *testing.T, tr *transport) { clickhouseBulk(t, tr, "facts") }},
		{"clickhouse-http bulk", func(t *testing.T, tr *transport) { clickhouseBulk(t, tr, "facts-http") }},
		{"cassandra bulk", cassandraBulk},
	}
	for _, s := range speakers {
		switch s.name {
		case "psql", "mariadb", "redis-cli": // have carriers of their own
			continue
		}
		list = append(list, carrier{s.name + " tunnel", func(t *testing.T, tr *transport) { roundTrip(t, tr, s, "--tunnel") }})
		if s.plain {
			list = append(list, carrier{s.name + " plain", func(t *testing.T, tr *transport) { roundTrip(t, tr, s) }})
		}
	}
	return list
}

func roundTrip(t *testing.T, tr *transport, s speaker, flags ...string) {
	s.need(t)
	s.answered(t, tr.start(t, append([]string{"proxy", "db", s.database}, flags...)...))
}

// noise is bytes that do not repeat.
func noise(size int64) []byte {
	var b bytes.Buffer
	sendNoise(&b, size) // to memory
	return b.Bytes()
}

// same compares many bytes without printing them.
func same(t testing.TB, got, want []byte) {
	t.Helper()
	if sha256.Sum256(got) != sha256.Sum256(want) {
		t.Errorf("%d bytes came back as %d others", len(want), len(got))
	}
}

func mongodbBulk(t *testing.T, tr *transport) {
	mongodb.get(t)
	const size, count = 4 << 20, 2
	p := tr.start(t, "proxy", "db", "docs", "--tunnel")
	c, err := mongo.Connect(mongooptions.Client().ApplyURI(p.lineAfter("url: ")))
	check(t, err)
	defer c.Disconnect(context.WithoutCancel(t.Context()))
	blobs := c.Database(account.Database).Collection(strings.ReplaceAll(t.Name(), "/", "_"))
	all := noise(size * count)
	for i := range count {
		_, err := blobs.InsertOne(t.Context(), bson.D{{Key: "_id", Value: i}, {Key: "data", Value: all[i*size:][:size]}})
		check(t, err)
	}
	cursor, err := blobs.Find(t.Context(), bson.D{}, mongooptions.Find().SetSort(bson.D{{Key: "_id", Value: 1}}))
	check(t, err)
	var got []struct{ Data []byte }
	check(t, cursor.All(t.Context(), &got))
	var back []byte
	for _, doc := range got {
		back = append(back, doc.Data...)
	}
	same(t, back, all)
	check(t, blobs.Drop(t.Context()))
}

// clickhouseBulk keeps bytes as rows of one each, by clickhouse-client or curl.
func clickhouseBulk(t *testing.T, tr *transport, database string) {
	const size = 32 << 20
	clickhouse.get(t)
	need(t, "clickhouse-client", "curl")
	table := "bulk_" + strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= '0' && r <= '9' {
			return r
		}
		return '_'
	}, strings.ToLower(t.Name()))
	path := filepath.Join(t.TempDir(), "noise")
	want := noise(size)
	check(t, os.WriteFile(path, want, 0o600))
	p := tr.start(t, "proxy", "db", database, "--tunnel")
	query := func(text, input string) string {
		t.Helper()
		o := options{}
		argv := []string{"sh", "-c", "exec " + p.printed("connect: ") + ` --query "$0" <"$1"`, text, input}
		if database == "facts-http" {
			argv = []string{"curl", "-sS", "--fail-with-body", "--url-query", "query=" + text, "--data-binary", "@" + input, p.lineAfter("url: ")}
		}
		return execute(t, o, argv...)
	}
	query("create table "+table+" (b UInt8) engine = Memory", os.DevNull)
	query("insert into "+table+" format RowBinary", path)
	same(t, []byte(query("select b from "+table+" settings max_threads = 1 format RowBinary", os.DevNull)), want)
	query("drop table "+table, os.DevNull)
}

func cassandraBulk(t *testing.T, tr *transport) {
	const size, count = 1 << 20, 8
	cassandra.get(t)
	p := tr.start(t, "proxy", "db", "wide", "--tunnel")
	s, err := peer.DialCassandra(p.lineAfter("address: "), account)
	check(t, err)
	defer s.Close()
	all := noise(size * count)
	first := len(t.Name()) << 16 // tests share the table
	var back []byte
	for i := range count {
		check(t, s.Query("insert into tshx.blobs (id, data) values (?, ?)", first+i, all[i*size:][:size]).Exec())
	}
	for i := range count {
		var got []byte
		check(t, s.Query("select data from tshx.blobs where id = ?", first+i).Scan(&got))
		back = append(back, got...)
	}
	same(t, back, all)
}
