package dbproxy

import (
	"bytes"
	"io"
	"net"
	"os/exec"
	"strings"
	"testing"
	"time"

	goredis "github.com/redis/go-redis/v9"
)

func TestRedisLines(t *testing.T) {
	testLines(t, &redis, []lineTest{
		{
			"tunnel", Endpoint{Host: "127.0.0.1", Port: "6379", User: "default", Name: "2", Tunnel: true},
			"redis-cli -h 127.0.0.1 -p 6379 -n 2", "redis://127.0.0.1:6379/2", []string{"REDIS_URL=redis://127.0.0.1:6379/2"},
		},
		{
			"plain", Endpoint{Host: "::1", Port: "6379", Files: Files{"/ca", "/c", "/k"}},
			"redis-cli -h ::1 -p 6379 --tls --cacert /ca --cert /c --key /k", "rediss://[::1]:6379/", []string{},
		},
		{
			"unix socket", Endpoint{Socket: "/run/a b.sock", Name: "2", Tunnel: true},
			"redis-cli -s '/run/a b.sock' -n 2", "unix:///run/a%20b.sock?db=2", []string{"REDIS_URL=unix:///run/a%20b.sock?db=2"},
		},
	})
}

func TestRedisSpeaks(t *testing.T) {
	testSpeaks(t, &redis,
		[]string{
			"*1\r\n$4\r\nPING\r\n", "ping\r\nping\r\n", "INFO server\n", "GET /abcd\r\n", "HSET k f v\r\n", "INCR x\r\n", "JSON.GET k\r\n",
			"\r\nPING\r\n", "\r\n\r\n*1\r\n$4\r\nPING\r\n",
		},
		[]string{
			"GET / HTTP/1.1\r\n", "\x00\x00\x00\x08\x04\xd2\x16\x2f", "PING and no end", "SSH-2.0-OpenSSH\r\n", "*x345678",
			"\r\n\r\n\r\n\r\n", "PING \x00\x00\x00\r\n",
		})
}

const refusedText = "database \"cache\": the certificate has expired; log in again with tsh db login cache"

func TestRedisRefusal(t *testing.T) {
	for login, word := range map[bool]string{true: "NOAUTH ", false: "ERR "} {
		at := refusing(t, &redis, true, Refusal{Text: refusedText, Login: login})
		args := []string{"redis-cli", "-h", at.Host, "-p", at.Port}
		for name, more := range map[string][]string{
			"get": {"get", "x"}, "database": {"-n", "2", "get", "x"}, "RESP3": {"-3", "get", "x"},
			"password": {"-a", "pw", "--no-auth-warning", "get", "x"},
		} {
			if out := say(t, append(args, more...)...); !strings.Contains(out, word+refusedText) {
				t.Errorf("%s: redis-cli says %q", name, out)
			}
		}
	}
}

// TestRedisRefusalInput: commands that come on standard input, one by one and
// many at once.
func TestRedisRefusalInput(t *testing.T) {
	path := needProgram(t, "redis-cli")
	at := refusing(t, &redis, true, Refusal{Text: refusedText})
	for name, args := range map[string][]string{"lines": nil, "pipe": {"--pipe"}} {
		cmd := exec.CommandContext(t.Context(), path, append([]string{"-h", at.Host, "-p", at.Port}, args...)...)
		cmd.Stdin = strings.NewReader("set a 1\r\nget a\r\n")
		out, _ := cmd.CombinedOutput()
		if strings.Count(string(out), refusedText) < 2 {
			t.Errorf("%s: redis-cli says %q", name, out)
		}
	}
}

func TestRedisRefusalDriver(t *testing.T) {
	at := refusing(t, &redis, true, Refusal{Text: refusedText, Login: true})
	c := goredis.NewClient(&goredis.Options{Addr: at.Addr(), MaxRetries: -1})
	defer c.Close()
	if err := c.Get(t.Context(), "x").Err(); err == nil || err.Error() != "NOAUTH "+refusedText {
		t.Errorf("go-redis says %v", err)
	}
}

func TestRedisPingAnswers(t *testing.T) {
	for answer, want := range map[string]Pong{
		"-NOAUTH Authentication required.\r\n":                                {Note: "the server wants a password"},
		"+PONG\r\n-NOPERM no\r\n":                                             {Note: "the server does not tell its version: no"},
		"+PONG\r\n$26\r\n# Server\r\nredis_version:7\r\n\r\n":                 {Version: "7"},
		"+PONG\r\n$42\r\nredis_version:7.2.4\r\nvalkey_version:8.0.1\r\n\r\n": {Version: "Valkey 8.0.1"},
		"+PONG\r\n$0\r\n\r\n":                                                 {},
	} {
		ours, server := net.Pipe()
		go io.Copy(io.Discard, server)
		go io.WriteString(server, answer)
		pong, err := redisPing(t.Context(), ours, Endpoint{})
		ours.Close()
		server.Close()
		if pong.RoundTrip <= 0 {
			t.Errorf("%q: no round trip", answer)
		}
		pong.RoundTrip = 0
		if err != nil || pong != want {
			t.Errorf("%q: %+v, %v, want %+v", answer, pong, err, want)
		}
	}
}

func FuzzRedisPing(f *testing.F) {
	f.Add([]byte("+PONG\r\n$18\r\nredis_version:7\r\n\r\n"))
	f.Add([]byte("-NOAUTH x\r\n"))
	f.Add([]byte("$-1\r\n"))
	f.Fuzz(func(t *testing.T, answer []byte) { pingWith(t, &redis, answer) })
}

// FuzzRedisRefuse: as many answers as commands, and always an end.
func FuzzRedisRefuse(f *testing.F) {
	f.Add([]byte("*1\r\n$4\r\nPING\r\nGET x\r\n*0\r\n"))
	f.Add([]byte("*-1\r\n$"))
	f.Add([]byte("*1000000\r\n$-5\r\n"))
	f.Fuzz(func(t *testing.T, said []byte) {
		client, local := net.Pipe()
		go func() { client.Write(said); client.SetDeadline(time.Now().Add(time.Minute)); local.Close() }()
		heard := make(chan []byte, 1)
		go func() { b, _ := io.ReadAll(client); client.Close(); heard <- b }()
		redis.Refuse(local, Refusal{Text: "no"})
		local.Close()
		if got := <-heard; len(bytes.ReplaceAll(got, []byte("-ERR no\r\n"), nil)) > 0 {
			t.Fatalf("said %q, heard %q", said, got)
		}
	})
}
