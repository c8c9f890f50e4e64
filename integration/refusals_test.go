//go:build linux

package integration

import (
	"context"
	"crypto/tls"
	"net"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"tshx/internal/lab"
	"tshx/internal/tlsroute"
)

// cause is why a client gets no database.
type cause struct {
	name string
	ways []string // transports
	only []string // clients; nil: all
	// begin returns a login with which tshx starts.
	begin func(t *testing.T, way string) *scene
	// says are parts of what people must read in the client's words: what went
	// wrong, and what to do.
	says []string
	// tells are parts of what tshx itself must say.
	tells []string
}

// scene is one cause on one transport.
type scene struct {
	tr     *transport
	spoil  func()                   // when tshx listens; may be nil
	repair func()                   // takes the cause away; may be nil
	name   func(name string) string // of the database; nil: its own
}

var (
	oneWay    = []string{"raw"}
	bothWays  = []string{"raw", "websocket nginx"}
	aFew      = []string{"psql", "mariadb", "redis-cli", "curl elasticsearch", "tsql"}
	fixExpiry = []string{"expired", "tsh db login"}
	gone      = []string{"refused", "is the proxy up"}
	late      = []string{"no answer in time", "check the address"}
	noRoute   = []string{"no application protocol", "in front of the proxy"}
	noAnswer  = []string{"closed the connection without an answer", "server behind it may be down"}
)

var causes = []cause{
	{"certificate expired", bothWays, nil, expiredMeanwhile, fixExpiry, fixExpiry},
	{"proxy gone", bothWays, nil, proxyGone, gone, gone},
	{"proxy hangs", oneWay, []string{"psql", "mariadb", "mongosh", "curl elasticsearch"}, proxyInstead(func(c *net.TCPConn) { select {} }), late, late},
	{"proxy resets", oneWay, aFew, proxyInstead(func(c *net.TCPConn) {
		c.Read(make([]byte, 1))
		reset(c)
	}), []string{"reset"}, []string{"reset"}},
	{"route unknown", oneWay, aFew, oldProxy(nil), noRoute, noRoute},
	{"route closed", oneWay, aFew, oldProxy(func(c net.Conn) { c.Close() }), []string{"may not know this route"}, []string{"may not know this route"}},
	{"database unknown", oneWay, aFew, unknownDatabase, noAnswer, noAnswer},
	{"other engine", oneWay, []string{"psql", "redis-cli", "mongosh"}, otherEngine, noAnswer, noAnswer},
	{"server down", bothWays, []string{"redis-cli", "mongosh", "clickhouse-client", "curl clickhouse", "curl elasticsearch", "aws", "cassandra driver"},
		serverDown, noAnswer, noAnswer},
	{"server down, says the proxy", bothWays, []string{"psql", "mariadb", "tsql"}, serverDown, []string{"cannot be reached"}, nil},
}

// TestRefusals: whatever the cause, clients tell people what it is and what to
// do, and the next one is served when it has gone.
func TestRefusals(t *testing.T) {
	for _, c := range causes {
		c.run(t, "--tunnel")
	}
}

func (c cause) run(t *testing.T, flags ...string) {
	for _, way := range c.ways {
		for _, s := range speakers {
			if c.only != nil && !slices.Contains(c.only, s.name) {
				continue
			}
			t.Run(c.name+"/"+way+"/"+s.name, func(t *testing.T) {
				t.Parallel()
				s.need(t)
				nothingLeft(t)
				c.refuses(t, way, s, flags...)
			})
		}
	}
}

func (c cause) refuses(t *testing.T, way string, s speaker, flags ...string) {
	sc := c.begin(t, way)
	name := s.database
	if sc.name != nil {
		name = sc.name(name)
	}
	p := launch(t, sc.tr.options(), append([]string{tshxPath, "proxy", "db", name}, flags...)...)
	p.lineAfter("address: ")
	if sc.spoil != nil {
		sc.spoil()
	}
	code, said := s.asks(t, p)
	s.told(t, code, said, c.says)
	for _, want := range c.tells {
		p.await(want)
	}
	if sc.repair != nil {
		sc.repair()
		s.answered(t, p)
	}
	p.signal(syscall.SIGTERM)
	if code := p.wait(); code != 0 {
		t.Errorf("tshx: exit code %d", code)
	}
	for _, l := range lines(p.stderr.String()) {
		if !strings.HasPrefix(l, "tshx: ") {
			t.Errorf("tshx said %q", l)
		}
	}
}

// expiredMeanwhile is a login that ends while tshx runs, and a new one.
func expiredMeanwhile(t *testing.T, way string) *scene {
	tr := loginAt(t, transportNamed(t, way).addr, lab.HomeOptions{})
	write := func(o lab.HomeOptions) func() {
		return func() { check(t, modern.get(t).lab.WriteHome(tr.home, tr.addr, o)) }
	}
	return &scene{tr: tr, spoil: write(lab.HomeOptions{TTL: -time.Hour}), repair: write(lab.HomeOptions{})}
}

// proxyGone is a port that refuses until the proxy is back.
func proxyGone(t *testing.T, way string) *scene {
	g := newGate(t)
	target := transportNamed(t, way).addr
	return &scene{tr: privateLogin(t, g.addr), repair: func() { g.open(t, loopback(target)) }}
}

// proxyInstead has something else at the proxy's address for a while.
func proxyInstead(handle func(c *net.TCPConn)) func(*testing.T, string) *scene {
	return func(t *testing.T, way string) *scene {
		return instead(t, way, serve(t, func(c *net.TCPConn) {
			defer c.Close()
			handle(c)
		}))
	}
}

func instead(t *testing.T, way, addr string) *scene {
	board := newSwitchboard(t, addr)
	target := transportNamed(t, way).addr
	return &scene{tr: privateLogin(t, board.addr), repair: func() {
		board.cut()
		board.to(loopback(target))
	}}
}

// oldProxy knows the route by which tshx finds its way, and none of those of
// databases: there it does what it is told, or else sends an alert.
func oldProxy(route func(c net.Conn)) func(*testing.T, string) *scene {
	return func(t *testing.T, way string) *scene {
		cert, err := modern.get(t).lab.Authority.WebCertificate("localhost")
		check(t, err)
		config := &tls.Config{Certificates: []tls.Certificate{cert}, NextProtos: []string{tlsroute.ALPNReverseTunnel},
			GetConfigForClient: func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
				if route != nil && !slices.Contains(hello.SupportedProtos, tlsroute.ALPNReverseTunnel) {
					route(hello.Conn)
				}
				return nil, nil
			}}
		return instead(t, way, serve(t, func(raw *net.TCPConn) {
			c := tls.Server(raw, config)
			defer c.Close()
			c.Read(make([]byte, 1))
		}))
	}
}

// impostor has the names and the authority of the cluster, and databases of its
// own: those that the cluster does not have, and those that it has by other
// engines.
var impostor = share(func() (*lab.Lab, error) {
	c, err := modern.load()
	if err != nil {
		return nil, err
	}
	var list []lab.Database
	for _, db := range c.config.Databases {
		db.Name = unknown(db.Name)
		list = append(list, db)
	}
	for speaks, name := range otherEngines {
		i := slices.IndexFunc(c.config.Databases, func(db lab.Database) bool { return db.Name == speaks })
		db := c.config.Databases[i]
		db.Name = name
		list = append(list, db)
	}
	l, err := lab.Start(context.Background(), lab.Config{Cluster: c.config.Cluster, User: c.config.User, Databases: list})
	if err == nil {
		atExit(func() { l.Close() })
	}
	return l, err
})

func unknown(name string) string { return name + "-unknown" }

// otherEngines are databases of the cluster by those whose engine the impostor
// takes them for.
var otherEngines = map[string]string{"pg": "my", "cache": "pg", "docs": "cache"}

func impostorHome(t *testing.T, way string) *transport {
	tr := loginAt(t, transportNamed(t, way).addr, lab.HomeOptions{})
	cluster := modern.get(t).lab.Authority
	check(t, impostor.get(t).WriteHome(tr.home, tr.addr, lab.HomeOptions{Signer: cluster, Trust: cluster}))
	return tr
}

func unknownDatabase(t *testing.T, way string) *scene {
	return &scene{tr: impostorHome(t, way), name: unknown}
}

func otherEngine(t *testing.T, way string) *scene {
	return &scene{tr: impostorHome(t, way), name: func(name string) string { return otherEngines[name] }}
}

func serverDown(t *testing.T, way string) *scene {
	return &scene{tr: transportNamed(t, way), name: down}
}

// gate is a port that refuses connections, as that of a server that does not
// run, until it is opened.
type gate struct {
	addr string
	fd   int
}

func newGate(t testing.TB) *gate {
	t.Helper()
	fd, addr := boundPort(t)
	return &gate{addr: addr, fd: fd}
}

// open carries connections to target from now on.
func (g *gate) open(t testing.TB, target string) {
	t.Helper()
	check(t, syscall.Listen(g.fd, syscall.SOMAXCONN))
	fd, err := syscall.Dup(g.fd)
	check(t, err)
	f := os.NewFile(uintptr(fd), "gate")
	defer f.Close()
	ln, err := net.FileListener(f)
	check(t, err)
	t.Cleanup(func() { ln.Close() })
	board := &switchboard{target: target, open: map[*net.TCPConn]bool{}}
	t.Cleanup(board.cut)
	go func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			go board.carry(c.(*net.TCPConn))
		}
	}()
}

// TestRefusalsPlain: clients that do TLS themselves are told a sentence by MySQL
// only, whose server speaks first. The others end at once by an alert, psql by
// an error in the place of TLS, which it does not show; there tshx says why.
func TestRefusalsPlain(t *testing.T) {
	for client, says := range map[string][2]string{
		"mariadb":            {"tsh db login", "is the proxy up"},
		"psql":               {"alert certificate expired", "error response during SSL exchange"},
		"redis-cli":          {"alert certificate expired", "alert internal error"},
		"curl elasticsearch": {"certificate", "alert internal error"}, // it takes the first alert for a word on the server's
	} {
		only := []string{client}
		cause{"certificate expired", oneWay, only, expiredMeanwhile, says[:1], fixExpiry}.run(t)
		cause{"proxy gone", bothWays, only, proxyGone, says[1:], gone}.run(t)
	}
	// Its driver tries again for 20 s before it says anything.
	cause{"certificate expired", oneWay, []string{"mongosh"}, expiredMeanwhile, []string{"alert certificate expired"}, fixExpiry}.run(t)
}

// TestWrongClient: a client of another engine is told so in its own words.
func TestWrongClient(t *testing.T) {
	for _, tt := range []struct {
		client, database string
		says             []string
	}{
		{"psql", "cache", []string{`database "cache" is Redis, but the client speaks PostgreSQL`, "use redis-cli"}},
		{"psql", "my", []string{`database "my" is MySQL, but the client speaks PostgreSQL`, "use"}},
		{"psql", "docs", []string{`is MongoDB, but the client speaks PostgreSQL`, "use mongosh"}},
		{"redis-cli", "pg", []string{`database "pg" is PostgreSQL, but the client speaks Redis`, "use psql"}},
		{"curl elasticsearch", "pg", []string{`PostgreSQL, but the client speaks HTTP`, "use psql"}},
		{"curl elasticsearch", "cache", []string{`is Redis, but the client speaks HTTP`, "use redis-cli"}},
		{"mongosh", "pg", []string{`is PostgreSQL, but the client speaks MongoDB`, "use psql"}},
		{"tsql", "pg", []string{`is PostgreSQL, but the client speaks SQL Server`, "use psql"}},
		{"clickhouse-client", "facts-http", []string{`is ClickHouse over HTTP, but the client speaks ClickHouse`, "use curl"}},
		{"curl clickhouse", "facts", []string{`is ClickHouse, but the client speaks HTTP`, "use clickhouse-client"}},
		{"aws", "pg", []string{`is PostgreSQL, but the client speaks HTTP`, "use psql"}},
	} {
		for _, way := range bothWays {
			t.Run(tt.client+" at "+tt.database+"/"+way, func(t *testing.T) {
				t.Parallel()
				s := speakerNamed(t, tt.client)
				right := speakers[slices.IndexFunc(speakers, func(s speaker) bool { return s.database == tt.database })]
				s.need(t)
				right.need(t)
				nothingLeft(t)
				o := transportNamed(t, way).options()
				own := launch(t, o, tshxPath, "proxy", "db", s.database, "--tunnel")
				p := launch(t, o, tshxPath, "proxy", "db", tt.database, "--tunnel")
				var code int
				var said string
				told := func() bool {
					code, said = s.asksAt(t, own.printed("connect: "), own.lineAfter("address: "), p.lineAfter("address: "))
					// The server of MySQL speaks first: a client that is slow to begin, as on a busy
					// machine, gets its greeting.
					return tt.database != "my" || strings.Contains(said, tt.says[0])
				}
				eventually(patience, told)
				s.told(t, code, said, tt.says)
				right.answered(t, p)
			})
		}
	}
}
