//go:build linux

package peer

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"net/http"
	"path/filepath"
)

// AWS is what stands in Amazon's place: S3, which knows buckets by path and by
// host, and an STS with GetCallerIdentity and AssumeRole. Both verify signatures,
// and S3 takes the keys that STS gives for a role. S3 is in us-east-1.
type AWS struct {
	*Server
	S3, STS string // URLs
	// The keys of the account, whose number is AWSAccount. It may do everything.
	AccessKeyID, SecretAccessKey string
}

// AWSAccount is the number of the account: its roles are
// arn:aws:iam::AWSAccount:role/NAME, and may all be assumed but for "forbidden".
const AWSAccount = "111122223333"

// StartAWS runs it with keys of its own. It is in no package.
func StartAWS() (*AWS, error) {
	const program = "aws-server"
	if err := FindAll(program); err != nil {
		return nil, err
	}
	a := &AWS{AccessKeyID: "AKIA" + rand.Text()[:16], SecretAccessKey: rand.Text() + rand.Text()[:14]}
	keys, err := json.Marshal(map[string]string{"access_key_id": a.AccessKeyID, "secret_access_key": a.SecretAccessKey})
	if err != nil {
		return nil, err
	}
	a.Server, err = blueprint{
		name: program, ports: []int{0, 0},
		argv: func(dir string, addrs []string) ([]string, error) {
			file, err := write(dir, "keys.json", string(keys), 0o600)
			return []string{program, "-s3", addrs[0], "-sts", addrs[1], "-dir", filepath.Join(dir, "s3"), "-keys", file}, err
		},
		ready: awsReady,
	}.start()
	if err != nil {
		return nil, err
	}
	a.S3, a.STS = "http://"+a.Addr, "http://"+a.Addrs[1]
	return a, nil
}

func awsReady(ctx context.Context, addrs []string) error {
	if err := connects(ctx, addrs); err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+addrs[0]+"/healthz", nil)
	if err != nil {
		return err
	}
	req.Close = true
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("s3 answers %s", resp.Status)
	}
	return nil
}
