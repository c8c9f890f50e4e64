// Command cassandra is a server that speaks Cassandra's protocol by DataStax's
// library for it and keeps blobs in memory. It is what the integration tests
// talk to in place of Cassandra, which has no Debian package: the login and all
// framing are real, the language is two prepared statements.
//
//	cassandra -listen 127.0.0.1:9042 -user alice -password tshx
//
//	insert into tshx.blobs (id, data) values (?, ?)
//	select data from tshx.blobs where id = ?
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"sync"
	"syscall"

	"github.com/datastax/go-cassandra-native-protocol/client"
	"github.com/datastax/go-cassandra-native-protocol/datatype"
	"github.com/datastax/go-cassandra-native-protocol/frame"
	"github.com/datastax/go-cassandra-native-protocol/message"
	"github.com/rs/zerolog"
)

// The statements, as they are written above; the first is what asks for the
// version.
const (
	release = "select release_version from system.local"
	insert  = "insert into tshx.blobs (id, data) values (?, ?)"
	choose  = "select data from tshx.blobs where id = ?"
)

var (
	id   = column("tshx", "blobs", "id", datatype.Int)
	data = column("tshx", "blobs", "data", datatype.Blob)
)

func main() {
	listen := flag.String("listen", "127.0.0.1:9042", "`address` to listen on")
	user := flag.String("user", "", "`name` to ask for; empty: ask for no login")
	password := flag.String("password", "", "its `password`")
	flag.Parse()
	zerolog.SetGlobalLevel(zerolog.WarnLevel)
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	var login *client.AuthCredentials
	if *user != "" {
		login = &client.AuthCredentials{Username: *user, Password: *password}
	}
	if err := run(ctx, *listen, login); err != nil {
		fmt.Fprintln(os.Stderr, "cassandra:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, listen string, login *client.AuthCredentials) error {
	s := client.NewCqlServer(listen, login)
	var blobs table
	s.RequestHandlers = []client.RequestHandler{
		hello,
		client.NewDriverConnectionInitializationHandler("tshx", "datacenter1", func(string) {}),
		blobs.handle,
	}
	if err := s.Start(context.Background()); err != nil {
		return err
	}
	<-ctx.Done()
	return s.Close()
}

// hello answers what clients ask first; the library's own answer is empty.
func hello(request *frame.Frame, _ *client.CqlServerConnection, _ client.RequestHandlerContext) *frame.Frame {
	if _, ok := request.Body.Message.(*message.Options); !ok {
		return nil
	}
	return frame.NewFrame(request.Header.Version, request.Header.StreamId, &message.Supported{Options: map[string][]string{
		"CQL_VERSION": {"3.4.5"}, "COMPRESSION": {}, "PROTOCOL_VERSIONS": {"3/v3", "4/v4"},
	}})
}

// table holds blobs by their id, a CQL int.
type table struct{ sync.Map }

func (t *table) handle(request *frame.Frame, _ *client.CqlServerConnection, _ client.RequestHandlerContext) *frame.Frame {
	return frame.NewFrame(request.Header.Version, request.Header.StreamId, t.answer(request.Body.Message))
}

func (t *table) answer(request message.Message) message.Message {
	switch m := request.(type) {
	case *message.Query:
		if m.Query == release {
			return rows(column("system", "local", "release_version", datatype.Varchar), []byte("4.0.0-library"))
		}
	case *message.Prepare:
		switch m.Query {
		case insert:
			return &message.PreparedResult{PreparedQueryId: []byte(insert), VariablesMetadata: &message.VariablesMetadata{
				Columns: []*message.ColumnMetadata{id, data}}}
		case choose:
			return &message.PreparedResult{PreparedQueryId: []byte(choose),
				VariablesMetadata: &message.VariablesMetadata{Columns: []*message.ColumnMetadata{id}},
				ResultMetadata:    &message.RowsMetadata{ColumnCount: 1, Columns: []*message.ColumnMetadata{data}}}
		}
	case *message.Execute:
		values := m.Options.PositionalValues
		switch {
		case string(m.QueryId) == insert && len(values) == 2:
			t.Store(string(values[0].Contents), values[1].Contents)
			return &message.VoidResult{}
		case string(m.QueryId) == choose && len(values) == 1:
			if v, ok := t.Load(string(values[0].Contents)); ok {
				return rows(data, v.([]byte))
			}
			return rows(data)
		}
	}
	return &message.SyntaxError{ErrorMessage: "this server knows two prepared statements only"}
}

func column(keyspace, table, name string, kind datatype.DataType) *message.ColumnMetadata {
	return &message.ColumnMetadata{Keyspace: keyspace, Table: table, Name: name, Type: kind}
}

// rows is a result of one column.
func rows(c *message.ColumnMetadata, values ...[]byte) message.Message {
	r := &message.RowsResult{Metadata: &message.RowsMetadata{ColumnCount: 1, Columns: []*message.ColumnMetadata{c}}, Data: message.RowSet{}}
	for _, v := range values {
		r.Data = append(r.Data, message.Row{v})
	}
	return r
}
