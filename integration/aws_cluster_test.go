//go:build linux

package integration

import (
	"context"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/sts"

	"tshx/integration/peer"
	"tshx/internal/lab"
)

// amazon is what stands in Amazon's place in a run, with awsBucket in it.
var amazon = share(func() (*peer.AWS, error) {
	a, err := peer.StartAWS()
	if err != nil {
		return nil, err
	}
	atExit(a.Close)
	c := s3.New(s3.Options{Region: awsRegion, BaseEndpoint: &a.S3, UsePathStyle: true, Credentials: awsRoot(a)})
	_, err = c.CreateBucket(context.Background(), &s3.CreateBucketInput{Bucket: aws.String(awsBucket)})
	return a, err
})

const (
	awsRegion = "us-east-1"
	awsBucket = "tshx-tests"
)

// Apps that are AWS accounts, or would be.
const (
	awsMain  = "main"  // the account itself
	awsOther = "other" // a role of it
	awsWrong = "wrong" // whose secret key is another
	awsDown  = "down"  // whose way to Amazon is interrupted
)

// awsARN is who a request of an app is made as.
var awsARN = map[string]string{
	awsMain:  "arn:aws:iam::" + peer.AWSAccount + ":user/agent",
	awsOther: "arn:aws:sts::" + peer.AWSAccount + ":assumed-role/" + awsOther + "/agent",
}

func awsRoot(a *peer.AWS) aws.CredentialsProvider {
	return credentials.NewStaticCredentialsProvider(a.AccessKeyID, a.SecretAccessKey, "")
}

// The clusters of the tests of AWS: what modern and old are to the others.
var (
	awsModern = share(func() (*cluster, error) {
		return startAWSCluster(lab.Config{Cluster: "aws.tshx.test", Behave: "v17"})
	})
	awsOld = share(func() (*cluster, error) {
		return startAWSCluster(lab.Config{Cluster: "oldaws.tshx.test", Behave: "v14"})
	})
)

// awsTransports are the ways that must carry everything of AWS.
var awsTransports = []named{
	{"raw", "raw", share(way{cluster: awsModern}.build)},
	{"websocket nginx", "websocket", share(way{cluster: awsModern, front: peer.Balancer.Nginx}.build)},
	{"websocket haproxy", "websocket", share(way{cluster: awsModern, front: peer.Balancer.HAProxyHTTP}.build)},
	{"legacy nginx", "legacy", share(way{cluster: awsOld, front: peer.Balancer.Nginx}.build)},
	{"layer 4", "websocket", share(way{cluster: awsModern, front: peer.Balancer.HAProxyTCP}.build)},
}

// startAWSCluster starts a lab with AWS accounts and nothing else.
func startAWSCluster(c lab.Config) (*cluster, error) {
	a, err := amazon.load()
	if err != nil {
		return nil, err
	}
	role, err := sts.New(sts.Options{Region: awsRegion, BaseEndpoint: &a.STS, Credentials: awsRoot(a)}).
		AssumeRole(context.Background(), &sts.AssumeRoleInput{
			RoleArn: aws.String("arn:aws:iam::" + peer.AWSAccount + ":role/" + awsOther), RoleSessionName: aws.String("agent"),
			DurationSeconds: aws.Int32(12 * 3600),
		})
	if err != nil {
		return nil, err
	}
	echo, err := awsSocket.load()
	if err != nil {
		return nil, err
	}
	endpoints := map[string]string{"s3": a.S3, "sts": a.STS, awsSocketService: echo.URL, "": "http://" + nobody}
	acct := lab.AWS{AccessKeyID: a.AccessKeyID, SecretAccessKey: a.SecretAccessKey, Endpoints: endpoints}
	other, wrong, down := acct, acct, acct
	other.AccessKeyID, other.SecretAccessKey, other.SessionToken =
		*role.Credentials.AccessKeyId, *role.Credentials.SecretAccessKey, *role.Credentials.SessionToken
	wrong.SecretAccessKey = "not the one"
	down.Endpoints = map[string]string{"": "http://" + nobody}
	c.User = account.User
	for name, acct := range map[string]*lab.AWS{awsMain: &acct, awsOther: &other, awsWrong: &wrong, awsDown: &down} {
		c.Apps = append(c.Apps, lab.App{Name: name, AWS: acct, AWSRole: "arn:aws:iam::" + peer.AWSAccount + ":role/" + name})
	}
	l, err := lab.Start(context.Background(), c)
	if err != nil {
		return nil, err
	}
	atExit(func() { l.Close() })
	cl := &cluster{lab: l, config: c, direct: loopback(l.Addr)}
	return cl, cl.writeCA()
}
