//go:build linux

package peer

import (
	"context"
	"path/filepath"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/logging"
)

// StartRedis runs a Redis server without a password and without persistence.
func StartRedis() (*Server, error) {
	if err := FindAll("redis-server"); err != nil {
		return nil, err
	}
	logging.Disable() // a server that is not up yet is no news
	return blueprint{
		name: "redis", user: "redis",
		prepare: func(dir string) error { return own(filepath.Join(dir, "data"), "redis") },
		argv: func(dir string, addrs []string) ([]string, error) {
			return []string{"redis-server", "--port", portOf(addrs[0]), "--bind", "127.0.0.1",
				"--dir", filepath.Join(dir, "data"), "--save", "", "--appendonly", "no", "--daemonize", "no"}, nil
		},
		ready: func(ctx context.Context, addrs []string) error {
			c := redis.NewClient(&redis.Options{Addr: addrs[0], MaxRetries: -1})
			defer c.Close()
			return c.Ping(ctx).Err()
		},
	}.start()
}
