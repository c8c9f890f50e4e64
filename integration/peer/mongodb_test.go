//go:build linux

package peer_test

import (
	"bytes"
	"context"
	"testing"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"tshx/integration/peer"
)

// TestMongoDB: what is stored comes back.
func TestMongoDB(t *testing.T) {
	s := need(t, peer.StartMongoDB)
	defer s.Close()
	c, err := mongo.Connect(options.Client().ApplyURI("mongodb://" + s.Addr + "/?directConnection=true"))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Disconnect(context.WithoutCancel(t.Context()))
	blobs := c.Database("app").Collection("blobs")
	want := bytes.Repeat([]byte("tshx"), 1<<20)
	if _, err := blobs.InsertOne(t.Context(), bson.D{{Key: "_id", Value: 1}, {Key: "data", Value: want}}); err != nil {
		t.Fatal(err)
	}
	var got struct{ Data []byte }
	if err := blobs.FindOne(t.Context(), bson.D{{Key: "_id", Value: 1}}).Decode(&got); err != nil || !bytes.Equal(got.Data, want) {
		t.Errorf("%d bytes, %v", len(got.Data), err)
	}
}
