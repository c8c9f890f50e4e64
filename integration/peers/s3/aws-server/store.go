package main

import (
	"crypto/hmac"
	"crypto/sha256"
	"crypto/subtle"
	"sync"
	"time"

	"github.com/versity/versitygw/auth"
)

// account is whose everything is.
const account = "111122223333"

// credentials are a pair of keys, of the account or of a role.
type credentials struct {
	AccessKeyID     string    `json:"access_key_id"`
	SecretAccessKey string    `json:"secret_access_key"`
	Token           string    `json:"-"` // of a session
	Expires         time.Time `json:"-"` // zero: never
	ARN             string    `json:"-"` // whose they are
	UserID          string    `json:"-"`
}

// store knows all credentials. It is the gateway's source of accounts as well.
type store struct {
	auth.IAMService // what is not below is not to be called
	mu              sync.Mutex
	keys            map[string]credentials
}

func newStore(root credentials) *store {
	return &store{
		IAMService: auth.NewIAMServiceSingle(auth.Account{Access: root.AccessKeyID, Secret: root.SecretAccessKey, Role: auth.RoleAdmin}),
		keys:       map[string]credentials{root.AccessKeyID: root},
	}
}

func (s *store) put(c credentials) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.keys[c.AccessKeyID] = c
}

// get returns the credentials of an access key that come with that token.
func (s *store) get(access, token string) (credentials, error) {
	s.mu.Lock()
	c, ok := s.keys[access]
	s.mu.Unlock()
	switch {
	case !ok:
		return c, auth.ErrNoSuchUser
	case subtle.ConstantTimeCompare([]byte(c.Token), []byte(token)) == 0,
		!c.Expires.IsZero() && time.Now().After(c.Expires):
		return c, auth.ErrInvalidSessionToken
	}
	return c, nil
}

// DeriveSigningKey implements auth.SigningKeyProvider: the way by which the
// gateway knows temporary keys.
func (s *store) DeriveSigningKey(access, token, date, region, service string) ([]byte, auth.Account, error) {
	c, err := s.get(access, token)
	if err != nil {
		return nil, auth.Account{}, err
	}
	key := []byte("AWS4" + c.SecretAccessKey)
	for _, part := range []string{date, region, service, "aws4_request"} {
		h := hmac.New(sha256.New, key)
		h.Write([]byte(part))
		key = h.Sum(nil)
	}
	return key, auth.Account{Access: access, Role: auth.RoleAdmin, SessionToken: token, IsSession: token != "", Arn: c.ARN}, nil
}
