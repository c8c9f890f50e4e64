//go:build linux

package integration

import (
	"bytes"
	"strings"
	"testing"

	goredis "github.com/redis/go-redis/v9"
)

func redisClients(t *testing.T, tr *transport, tunnel bool) {
	need(t, "redis-cli")
	redis.get(t)
	p := tr.start(t, append([]string{"proxy", "db", "cache"}, mode(tunnel)...)...)
	t.Run("redis-cli", func(t *testing.T) {
		c := pasted(t, p.lineAfter("connect: "), "eval", "return ARGV[1]..' '..6*7", "0", "answer:")
		if code := c.wait(); code != 0 || strings.TrimSpace(c.stdout.String()) != "answer: 42" {
			t.Errorf("exit code %d, %q", code, c.stdout.String())
		}
	})
	t.Run("go-redis", func(t *testing.T) {
		o := &goredis.Options{Addr: p.lineAfter("address: "), MaxRetries: -1}
		if !tunnel {
			o.TLSConfig = clientTLS(t, p)
		}
		c := goredis.NewClient(o)
		defer c.Close()
		value := bytes.Repeat([]byte("0123456789abcdef"), 1<<18)
		key := "tshx:" + t.Name()
		if err := c.Set(t.Context(), key, value, 0).Err(); err != nil {
			t.Fatal(err)
		}
		defer c.Del(t.Context(), key)
		got, err := c.Get(t.Context(), key).Bytes()
		if err != nil || !bytes.Equal(got, value) {
			t.Errorf("got %d bytes of %d back: %v", len(got), len(value), err)
		}
	})
}
