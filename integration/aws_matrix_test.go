//go:build linux

package integration

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"golang.org/x/sync/errgroup"

	"tshx/integration/peer"
)

// awsLarge is how much goes up and down in parts, in bytes.
const awsLarge = 200 << 20

// awsPath is where a test keeps its objects.
func awsPath(t testing.TB) string {
	return strings.NewReplacer("/", "-", " ", "-").Replace(t.Name()) + "-" + fmt.Sprint(rand.Uint32())
}

// TestAWSMatrix: each client, over each way.
func TestAWSMatrix(t *testing.T) {
	for _, tt := range awsTransports {
		t.Run(tt.name, func(t *testing.T) {
			nothingLeft(t)
			tr := tt.get(t)
			p := startAWSProxy(t, tr, "--app", awsMain)
			t.Run("sdk", func(t *testing.T) { awsObjects(t, p.s3(t, p.credentials())) })
			t.Run("large", func(t *testing.T) { awsMultipart(t, p.s3(t, p.credentials())) })
			t.Run("sts", func(t *testing.T) { awsRoles(t, p) })
			t.Run("presigned", func(t *testing.T) { awsPresigned(t, p) })
			t.Run("cli", func(t *testing.T) { awsCommands(t, tr) })
		})
	}
}

// awsObjects lists, puts, gets and removes.
func awsObjects(t *testing.T, c *s3.Client) {
	ctx, bucket, path := t.Context(), aws.String(awsBucket), awsPath(t)
	for i, key := range []string{"plain", "empty", "a b/ü+%25/x'()!*&$,;=:@~", strings.Repeat("/long", 40)[1:]} {
		content := bytes.Repeat([]byte(key), 1000*i)
		if key == "empty" {
			content = nil
		}
		key = path + "/" + key
		for name, body := range map[string]io.Reader{"of a length": bytes.NewReader(content), "without a length": io.MultiReader(bytes.NewReader(content))} {
			in := &s3.PutObjectInput{Bucket: bucket, Key: &key, Body: body, CacheControl: aws.String("max-age=5"), Metadata: map[string]string{"tshx": "ü ü"}}
			if name != "of a length" {
				in.ContentLength = aws.Int64(int64(len(content)))
			}
			if _, err := c.PutObject(ctx, in); err != nil {
				t.Fatalf("put %q, %s: %v", key, name, err)
			}
			out, err := c.GetObject(ctx, &s3.GetObjectInput{Bucket: bucket, Key: &key})
			if err != nil {
				t.Fatalf("get %q: %v", key, err)
			}
			got, err := io.ReadAll(out.Body)
			out.Body.Close()
			if err != nil || !bytes.Equal(got, content) || aws.ToString(out.CacheControl) != "max-age=5" {
				t.Errorf("%q: %d bytes of %d, %q, %v", key, len(got), len(content), aws.ToString(out.CacheControl), err)
			}
		}
		list, err := c.ListObjectsV2(ctx, &s3.ListObjectsV2Input{Bucket: bucket, Prefix: &key})
		if err != nil || len(list.Contents) != 1 || *list.Contents[0].Key != key {
			t.Errorf("list %q: %v", key, err)
		}
		if _, err := c.DeleteObject(ctx, &s3.DeleteObjectInput{Bucket: bucket, Key: &key}); err != nil {
			t.Error(err)
		}
		if _, err := c.HeadObject(ctx, &s3.HeadObjectInput{Bucket: bucket, Key: &key}); codeOfAWS(err) != "NotFound" {
			t.Errorf("%q is still there: %v", key, err)
		}
	}
}

// awsPart is a part of what awsMultipart sends, in bytes.
const awsPart = 16 << 20

// awsMultipart sends awsLarge in parts, several at once, and fetches it in one.
func awsMultipart(t *testing.T, c *s3.Client) {
	ctx, bucket, key, seed := t.Context(), aws.String(awsBucket), awsPath(t), rand.Uint32()
	part := func(i int) io.Reader {
		return io.LimitReader(rand.NewChaCha8([32]byte{byte(i), byte(seed), byte(seed >> 8)}), awsPart)
	}
	start := time.Now()
	up, err := c.CreateMultipartUpload(ctx, &s3.CreateMultipartUploadInput{Bucket: bucket, Key: &key})
	check(t, err)
	parts := make([]types.CompletedPart, (awsLarge+awsPart-1)/awsPart)
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(3)
	for i := range parts {
		g.Go(func() error {
			size := min(awsPart, awsLarge-int64(i)*awsPart)
			out, err := c.UploadPart(gctx, &s3.UploadPartInput{Bucket: bucket, Key: &key, UploadId: up.UploadId, PartNumber: aws.Int32(int32(i + 1)),
				Body: io.LimitReader(part(i), size), ContentLength: &size})
			if err == nil {
				parts[i] = types.CompletedPart{PartNumber: aws.Int32(int32(i + 1)), ETag: out.ETag, ChecksumCRC32: out.ChecksumCRC32}
			}
			return err
		})
	}
	check(t, g.Wait())
	_, err = c.CompleteMultipartUpload(ctx, &s3.CompleteMultipartUploadInput{Bucket: bucket, Key: &key, UploadId: up.UploadId,
		MultipartUpload: &types.CompletedMultipartUpload{Parts: parts}})
	check(t, err)
	sent := sha256.New()
	for i := range parts {
		_, err := io.Copy(sent, io.LimitReader(part(i), awsLarge-int64(i)*awsPart))
		check(t, err)
	}
	took := time.Since(start)
	start = time.Now()
	out, err := c.GetObject(ctx, &s3.GetObjectInput{Bucket: bucket, Key: &key})
	check(t, err)
	defer out.Body.Close()
	got := sha256.New()
	if n, err := io.Copy(got, out.Body); err != nil || n != awsLarge || !bytes.Equal(sent.Sum(nil), got.Sum(nil)) {
		t.Errorf("%d bytes of %d, %v; the same: %v", n, awsLarge, err, bytes.Equal(sent.Sum(nil), got.Sum(nil)))
	}
	t.Logf("%d MiB up in %v, down in %v", awsLarge>>20, took, time.Since(start))
	_, err = c.DeleteObject(ctx, &s3.DeleteObjectInput{Bucket: bucket, Key: &key})
	check(t, err)
}

// awsRoles asks who one is, becomes somebody else, and is that for S3 too.
func awsRoles(t *testing.T, p *awsProxy) {
	if got := whoAmI(t, p.sts(t, p.credentials())); got != awsARN[awsMain] {
		t.Errorf("we are %q", got)
	}
	arn := "arn:aws:iam::" + peer.AWSAccount + ":role/"
	out, err := p.sts(t, p.credentials()).AssumeRole(t.Context(), &sts.AssumeRoleInput{
		RoleArn: aws.String(arn + "reader"), RoleSessionName: aws.String("alice")})
	if err != nil {
		t.Fatal(err)
	}
	role := credentials.NewStaticCredentialsProvider(*out.Credentials.AccessKeyId, *out.Credentials.SecretAccessKey, *out.Credentials.SessionToken)
	if got, want := whoAmI(t, p.sts(t, role)), "arn:aws:sts::"+peer.AWSAccount+":assumed-role/reader/alice"; got != want {
		t.Errorf("as the role we are %q, want %q", got, want)
	}
	awsObjects(t, p.s3(t, role))
	if _, err := p.sts(t, p.credentials()).AssumeRole(t.Context(), &sts.AssumeRoleInput{
		RoleArn: aws.String(arn + "forbidden"), RoleSessionName: aws.String("alice")}); codeOfAWS(err) != "AccessDenied" {
		t.Errorf("a role that is forbidden: %v", err)
	}
}

// awsPresigned has curl put and get by URLs alone.
func awsPresigned(t *testing.T, p *awsProxy) {
	need(t, "curl")
	c := s3.NewPresignClient(p.s3(t, p.credentials()))
	key := awsPath(t) + "/a b+c"
	put, err := c.PresignPutObject(t.Context(), &s3.PutObjectInput{Bucket: aws.String(awsBucket), Key: &key, ContentType: aws.String("text/x-tshx")})
	if err != nil {
		t.Fatal(err)
	}
	get, err := c.PresignGetObject(t.Context(), &s3.GetObjectInput{Bucket: aws.String(awsBucket), Key: &key, ResponseCacheControl: aws.String("no-store")})
	if err != nil {
		t.Fatal(err)
	}
	curl := func(args ...string) string {
		return execute(t, options{env: p.environ()}, append([]string{"curl", "-sS", "--cacert", p.env["AWS_CA_BUNDLE"], "-w", "%{http_code} %{content_type}"}, args...)...)
	}
	file := filepath.Join(t.TempDir(), "content")
	content := strings.Repeat("presigned ", 100000)
	if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	args := []string{"-T", file, "-H", "Content-Type: text/x-tshx", put.URL}
	if got := curl(args...); !strings.HasPrefix(got, "200 ") {
		t.Errorf("put: %s", got)
	}
	if got := curl(get.URL); got != content+"200 text/x-tshx" {
		t.Errorf("get: %s", clip(got))
	}
	if got := curl(strings.Replace(get.URL, "X-Amz-Signature=", "X-Amz-Signature=0", 1)); !strings.Contains(got, "403 ") || !strings.Contains(got, "<Code>") {
		t.Errorf("another signature: %s", clip(got))
	}
	if got := curl(strings.Replace(get.URL, "no-store", "no-cache", 1)); !strings.Contains(got, "403 ") {
		t.Errorf("another query: %s", clip(got))
	}
}

// awsCommands are a few of the AWS CLI.
func awsCommands(t *testing.T, tr *transport) {
	dir := t.TempDir()
	file, back := filepath.Join(dir, "file"), filepath.Join(dir, "back")
	content := bytes.Repeat([]byte("0123456789abcdef"), 64<<10)
	if err := os.WriteFile(file, content, 0o600); err != nil {
		t.Fatal(err)
	}
	path := awsPath(t)
	prefix := "s3://" + awsBucket + "/" + path + "/"
	awsSays(t, tr, "--app", awsMain, "s3", "cp", "--no-progress", file, prefix+"a b+c")
	awsSays(t, tr, "--app", awsMain, "s3", "cp", "--no-progress", prefix+"a b+c", back)
	if got, err := os.ReadFile(back); err != nil || !bytes.Equal(got, content) {
		t.Errorf("%d bytes of %d, %v", len(got), len(content), err)
	}
	if got := awsSays(t, tr, "--app", awsMain, "sts", "get-caller-identity", "--query", "Arn", "--output", "text"); got != awsARN[awsMain]+"\n" {
		t.Errorf("we are %q", got)
	}
	if tr != awsTransports[0].get(t) {
		return // each start of aws costs as much as all of the above by the SDK
	}
	if got := awsSays(t, tr, "--app", awsMain, "s3", "ls", prefix); !strings.Contains(got, " 1048576 a b+c\n") {
		t.Errorf("ls: %q", got)
	}
	awsSays(t, tr, "--app", awsMain, "s3", "rm", prefix+"a b+c")
	if got := awsSays(t, tr, "--app", awsMain, "s3api", "list-objects-v2", "--bucket", awsBucket, "--prefix", path, "--query", "Contents"); got != "null\n" {
		t.Errorf("what was removed is there: %q", got)
	}
}
