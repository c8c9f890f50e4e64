//go:build linux

package peer

import (
	"context"
	"os"
	"path/filepath"

	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
)

// StartMongoDB runs FerretDB, a server that speaks MongoDB's protocol and lets
// everybody in. MongoDB itself is in no package.
func StartMongoDB() (*Server, error) {
	if err := FindAll("ferretdb"); err != nil {
		return nil, err
	}
	return blueprint{
		name:    "ferretdb",
		prepare: func(dir string) error { return os.Mkdir(filepath.Join(dir, "data"), 0o700) },
		argv: func(dir string, addrs []string) ([]string, error) {
			return []string{"ferretdb", "-listen", addrs[0], "-dir", filepath.Join(dir, "data")}, nil
		},
		ready: func(ctx context.Context, addrs []string) error { return pingMongoDB(ctx, addrs[0]) },
	}.start()
}

func pingMongoDB(ctx context.Context, addr string) error {
	c, err := mongo.Connect(options.Client().ApplyURI("mongodb://" + addr + "/?directConnection=true&serverSelectionTimeoutMS=1000"))
	if err != nil {
		return err
	}
	defer c.Disconnect(ctx)
	return c.Ping(ctx, nil)
}
