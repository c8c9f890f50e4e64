package cloudproxy

import (
	"bytes"
	"encoding/xml"
	"io"
	"net/http"
	"slices"
	"sync"
	"time"
)

const (
	// maxAssumed is how many assumed roles are remembered: the ones that end last.
	maxAssumed = 128
	// maxAssumeBody is the longest answer that may be one to AssumeRole.
	maxAssumeBody = 256 << 10
)

// assumed are the credentials that programs got for roles that they assumed. They
// stay in memory.
type assumed struct {
	now func() time.Time

	mu  sync.Mutex
	all map[string]assumedRole // by access key id
}

type assumedRole struct {
	credentials
	ends time.Time
}

// find returns the credentials with an access key id, unless they have ended.
func (a *assumed) find(id string) (credentials, bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.forget()
	role, ok := a.all[id]
	return role.credentials, ok
}

// forget drops what has ended.
func (a *assumed) forget() {
	now := a.now()
	for id, role := range a.all {
		if !role.ends.After(now) {
			delete(a.all, id)
		}
	}
}

func (a *assumed) add(role assumedRole) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.forget()
	if a.all == nil {
		a.all = map[string]assumedRole{}
	}
	if len(a.all) >= maxAssumed {
		var first string
		for id, other := range a.all {
			if first == "" || other.ends.Before(a.all[first].ends) {
				first = id
			}
		}
		delete(a.all, first)
	}
	a.all[role.id] = role
}

// assumeRoleResponse is the answer of STS to AssumeRole.
type assumeRoleResponse struct {
	XMLName xml.Name `xml:"AssumeRoleResponse"`
	Result  struct {
		Credentials struct {
			ID     string    `xml:"AccessKeyId"`
			Secret string    `xml:"SecretAccessKey"`
			Token  string    `xml:"SessionToken"`
			Ends   time.Time `xml:"Expiration"`
		} `xml:"Credentials"`
		User struct {
			ARN string `xml:"Arn"`
		} `xml:"AssumedRoleUser"`
	} `xml:"AssumeRoleResult"`
}

// remember looks at the answer of STS to a request that went over an app, and
// remembers the role if it is one to AssumeRole. The answer stays as it is.
func (a *assumed) remember(res *http.Response, app int) error {
	if res.StatusCode != http.StatusOK || res.ContentLength > maxAssumeBody || res.Header.Get("Content-Encoding") != "" {
		return nil
	}
	head, err := io.ReadAll(io.LimitReader(res.Body, maxAssumeBody+1))
	if err != nil {
		return err
	}
	res.Body = &replayed{io.MultiReader(bytes.NewReader(head), res.Body), res.Body}
	if role, ok := parseAssumeRole(head); ok && len(head) <= maxAssumeBody {
		role.app = app
		a.add(role)
	}
	return nil
}

// replayed is a body of which the beginning was read.
type replayed struct {
	io.Reader
	io.Closer
}

func parseAssumeRole(body []byte) (assumedRole, bool) {
	var res assumeRoleResponse
	if xml.Unmarshal(body, &res) != nil {
		return assumedRole{}, false
	}
	c := res.Result.Credentials
	whole := !slices.Contains([]string{c.ID, c.Secret, c.Token, res.Result.User.ARN}, "") && !c.Ends.IsZero()
	return assumedRole{credentials{id: c.ID, secret: c.Secret, token: c.Token, arn: res.Result.User.ARN}, c.Ends}, whole
}
