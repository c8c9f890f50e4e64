//go:build linux

package peer_test

import (
	"context"
	"errors"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/aws/smithy-go"

	"tshx/integration/peer"
)

// What the tests rely on: both servers refuse what is signed wrong, and the keys
// of a role are good for S3, with their token alone.
func TestAWS(t *testing.T) {
	a := need(t, peer.StartAWS)
	defer a.Close()
	root := aws.Credentials{AccessKeyID: a.AccessKeyID, SecretAccessKey: a.SecretAccessKey}
	if err := makeBucket(t.Context(), a, root, "one"); err != nil {
		t.Fatal(err)
	}
	wrong := root
	wrong.SecretAccessKey += "x"
	stranger := root
	stranger.AccessKeyID = "AKIASTRANGER"
	for code, keys := range map[string]aws.Credentials{"SignatureDoesNotMatch": wrong, "InvalidAccessKeyId": stranger} {
		if err := makeBucket(t.Context(), a, keys, "two"); codeOf(err) != code {
			t.Errorf("s3: error %v, want %s", err, code)
		}
	}
	for code, keys := range map[string]aws.Credentials{"SignatureDoesNotMatch": wrong, "InvalidClientTokenId": stranger} {
		if _, err := stsOf(a, keys).GetCallerIdentity(t.Context(), &sts.GetCallerIdentityInput{}); codeOf(err) != code {
			t.Errorf("sts: error %v, want %s", err, code)
		}
	}
	assume := func(role string) (*sts.AssumeRoleOutput, error) {
		return stsOf(a, root).AssumeRole(t.Context(), &sts.AssumeRoleInput{
			RoleArn: aws.String("arn:aws:iam::" + peer.AWSAccount + ":role/" + role), RoleSessionName: aws.String("session")})
	}
	if _, err := assume("forbidden"); codeOf(err) != "AccessDenied" {
		t.Errorf("forbidden role: %v", err)
	}
	out, err := assume("reader")
	if err != nil {
		t.Fatal(err)
	}
	role := aws.Credentials{AccessKeyID: *out.Credentials.AccessKeyId, SecretAccessKey: *out.Credentials.SecretAccessKey, SessionToken: *out.Credentials.SessionToken}
	if err := makeBucket(t.Context(), a, role, "three"); err != nil {
		t.Error(err)
	}
	who, err := stsOf(a, role).GetCallerIdentity(t.Context(), &sts.GetCallerIdentityInput{})
	if err != nil || *who.Arn != "arn:aws:sts::"+peer.AWSAccount+":assumed-role/reader/session" {
		t.Errorf("%v, %v", who, err)
	}
	role.SessionToken += "x"
	if err := makeBucket(t.Context(), a, role, "four"); codeOf(err) != "InvalidToken" {
		t.Errorf("wrong token: %v", err)
	}
}

func makeBucket(ctx context.Context, a *peer.AWS, keys aws.Credentials, name string) error {
	c := s3.New(s3.Options{Region: "us-east-1", BaseEndpoint: &a.S3, UsePathStyle: true, Credentials: static(keys)})
	_, err := c.CreateBucket(ctx, &s3.CreateBucketInput{Bucket: &name})
	return err
}

func stsOf(a *peer.AWS, keys aws.Credentials) *sts.Client {
	return sts.New(sts.Options{Region: "us-east-1", BaseEndpoint: &a.STS, Credentials: static(keys)})
}

func static(c aws.Credentials) aws.CredentialsProvider {
	return credentials.NewStaticCredentialsProvider(c.AccessKeyID, c.SecretAccessKey, c.SessionToken)
}

// codeOf is what AWS calls an error.
func codeOf(err error) string {
	var e smithy.APIError
	if errors.As(err, &e) {
		return e.ErrorCode()
	}
	return ""
}
