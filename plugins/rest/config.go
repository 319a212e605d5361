// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package rest

import (
	"encoding/json"
	"time"
)

// Config is the body of a source "rest" block.
type Config struct {
	_ struct{} `doc:"A JSON API that is polled over HTTP."`

	BaseURL string `hcl:"base_url" doc:"Where the API lives, https://host or https://host/path. All calls stay on this scheme, host and port, but those to token_url."`
	// Timeout is for one attempt; a call that may be repeated has several.
	Timeout   time.Duration     `hcl:"timeout,optional" default:"30s" doc:"How long one attempt of a call may take."`
	Headers   map[string]string `hcl:"headers,optional,sensitive" doc:"Further headers of every call. Not Authorization, Host, Content-Length and others that the adapter makes itself."`
	Proxy     string            `hcl:"proxy,optional,sensitive" doc:"Proxy for all calls: http://host:3128, or with user:password@; https and socks5 as well. Without it: as the environment says."`
	TLS       *TLS              `hcl:"tls,block"`
	Auth      *Auth             `hcl:"auth,block"`
	Limits    *Limits           `hcl:"limits,block"`
	Feeds     []Feed            `hcl:"feed,block"`
	Resources []Resource        `hcl:"resource,block"`
}

// Auth says how calls prove who makes them. A new way is a new label.
type Auth struct {
	_ struct{} `doc:"How calls prove who makes them: none, basic, bearer, api_key, oauth2 or login. Without this block: none."`

	Kind     string `hcl:"kind,label"`
	Username string `hcl:"username,optional" doc:"For basic."`
	Password string `hcl:"password,optional,sensitive" doc:"For basic."`
	Token    string `hcl:"token,optional,sensitive" doc:"For bearer."`

	Key    string `hcl:"key,optional,sensitive" doc:"For api_key: the key, as it is sent."`
	Header string `hcl:"header,optional" doc:"For api_key: the header that carries the key. For login: the header that carries the token, Authorization if not given."`
	Param  string `hcl:"param,optional" doc:"For api_key: the query parameter that carries the key, where no header can."`

	TokenURL     string            `hcl:"token_url,optional" doc:"For oauth2: where tokens are issued; may be on another host than the API."`
	ClientID     string            `hcl:"client_id,optional" doc:"For oauth2."`
	ClientSecret string            `hcl:"client_secret,optional,sensitive" doc:"For oauth2."`
	ClientAuth   string            `hcl:"client_auth,optional" values:"header,body" doc:"For oauth2: whether client_id and client_secret go as basic authentication (header, the default) or in the body."`
	PrivateKey   string            `hcl:"private_key,optional,sensitive" doc:"For oauth2, in the place of client_secret: the key that signs assertions (private_key_jwt, as SMART Backend Services have it), a JWK or PEM without a password."`
	KeyID        string            `hcl:"key_id,optional" doc:"For oauth2: kid of the assertions. Without it: that of the JWK."`
	KeyAlgorithm string            `hcl:"key_algorithm,optional" values:"RS256,RS384,RS512,PS256,PS384,PS512,ES256,ES384,ES512" doc:"For oauth2: how assertions are signed. Without it: as the JWK says, or RS384, ES256, ES384 or ES512 as the key is."`
	KeyAudience  string            `hcl:"key_audience,optional" doc:"For oauth2: aud of the assertions. Without it: token_url."`
	RefreshToken string            `hcl:"refresh_token,optional,sensitive" doc:"For oauth2: what a person's login gave; tokens are had for it (grant refresh_token). Where the server gives a new one each time, that is kept in the state, and this one is used again only when it is changed."`
	Scopes       []string          `hcl:"scopes,optional" doc:"For oauth2: the scopes that are asked for."`
	Params       map[string]string `hcl:"params,optional,sensitive" doc:"For oauth2: further parameters of the request for a token, such as audience."`

	Path        string          `hcl:"path,optional" doc:"For login: path below base_url to which body is POSTed."`
	Body        json.RawMessage `hcl:"body,optional,sensitive" doc:"For login: the JSON that is POSTed, with the user's name and password."`
	TokenPath   string          `hcl:"token_path,optional" doc:"For login: dotted path to the token in the answer."`
	ExpiresPath string          `hcl:"expires_path,optional" doc:"For login: dotted path to the seconds that the token lives. Without it a token is used until it is refused."`
	Value       string          `hcl:"value,optional" doc:"For login: the header's value, in which {token} is the token: Bearer {token} for Authorization, else {token}."`
}

// TLS says whom to trust and as whom to appear. All values are PEM text.
type TLS struct {
	_ struct{} `doc:"Whom to trust and as whom to appear; certificates and keys are given by value, with file() or secret()."`

	CA         string `hcl:"ca,optional" doc:"Certificates, in PEM, of the authorities that are trusted by all calls, in the place of the system's."`
	Cert       string `hcl:"cert,optional" doc:"Client certificate in PEM, followed by those between it and its authority."`
	Key        string `hcl:"key,optional,sensitive" doc:"Private key of the client certificate, in PEM, without a password."`
	MinVersion string `hcl:"min_version,optional" default:"1.2" values:"1.2,1.3" doc:"The oldest version of TLS that is spoken."`
}

// Limits bound what the API has to bear, all pipelines of the source together.
type Limits struct {
	_ struct{} `doc:"What the API has to bear at most, all pipelines that use this source together."`

	Concurrency int     `hcl:"concurrency,optional" default:"8" doc:"Calls under way at once."`
	PerSecond   float64 `hcl:"per_second,optional" doc:"Calls a second, evenly spaced. Without it: as fast as answers come."`
	PerMinute   int     `hcl:"per_minute,optional" doc:"Calls in each minute of the clock."`
	PerHour     int     `hcl:"per_hour,optional" doc:"Calls in each hour of the clock."`
	PerDay      int     `hcl:"per_day,optional" doc:"Calls from midnight to midnight."`
	DayZone     string  `hcl:"day_zone,optional" default:"UTC" doc:"Time zone of that midnight, such as America/New_York."`
	After429    string  `hcl:"after_429,optional" values:"minute,hour,day" doc:"Until when the API answers nothing else after a 429 that does not say how long to wait: the end of the minute, the hour or the day. Without it: it is asked again after a short while."`
}

// Feed is a list of what changed since an instant, or of everything.
type Feed struct {
	_ struct{} `doc:"A list that answers what changed since an instant, or everything that there is."`

	Name    string            `hcl:"name,label"`
	Class   string            `hcl:"class,optional" default:"timestamp" values:"timestamp,scan" doc:"How it is read. timestamp: the list answers what changed since {since}. scan: it answers everything at each poll, and there is no {since}."`
	Method  string            `hcl:"method,optional" default:"GET" values:"GET,POST" doc:"POST is for APIs that take what is asked for as JSON. It must only read, as it is repeated when the network fails."`
	Path    string            `hcl:"path" doc:"Path below base_url; may hold {since}."`
	Query   map[string]string `hcl:"query,optional" doc:"Query parameters; values may hold {since}."`
	Body    json.RawMessage   `hcl:"body,optional" doc:"JSON that a POST carries; texts in it may hold {since}. A text that is only {since} becomes a number where instants are numbers. Paging puts its parameters into it."`
	Headers map[string]string `hcl:"headers,optional,sensitive" doc:"Further headers, which go before those of the source."`
	Items   string            `hcl:"items,optional" doc:"Dotted path to the array of items in the answer. Without it the answer is the array."`
	ID      string            `hcl:"id" doc:"Dotted path to an item's identifier."`
	Version string            `hcl:"version,optional" doc:"Dotted path to what differs from version to version of a record. An equal version with other data is a change too."`
	Time    string            `hcl:"time,optional" doc:"Dotted path to the time of an item's last change, in the format of since or RFC 3339. A scan can do without."`
	Ignore  []string          `hcl:"ignore,optional" doc:"Dotted paths of what changes without meaning anything: it does not make a change, and is delivered all the same. A step names a member; arrays are passed through."`
	Since   *Since            `hcl:"since,block"`
	Page    *Page             `hcl:"page,block"`
	Include []Include         `hcl:"include,block"`
}

// Since says how the API writes instants.
type Since struct {
	_ struct{} `doc:"How the API writes instants. Without this block: RFC 3339 in UTC."`

	Format string `hcl:"format,optional" doc:"Go layout: 2006-01-02T15:04:05 as the API writes it; or unix or unix_ms for seconds or milliseconds since 1970. Without it: RFC 3339."`
	Zone   string `hcl:"zone,optional" default:"UTC" doc:"Time zone of instants that have no offset, such as America/New_York."`
}

// Page says how a long answer goes on. A new way of paging is a new label.
type Page struct {
	_ struct{} `doc:"How a long answer goes on: cursor, link, next_url, number or offset. Without this block each answer is whole."`

	Kind      string `hcl:"kind,label"`
	Next      string `hcl:"next,optional" doc:"For cursor and next_url: dotted path to the next page's cursor or URL in the answer; null, empty or absent on the last page."`
	Param     string `hcl:"param,optional" doc:"For cursor, number and offset: the parameter that carries it, in the query, or of a POST the dotted path to it in the body."`
	First     string `hcl:"first,optional" doc:"For number and offset: that of the first page. Without it: 1 for number, 0 for offset."`
	Size      int    `hcl:"size,optional" doc:"For number and offset: items of a full page; a page with fewer is the last. Without it only an empty page is the last."`
	SizeParam string `hcl:"size_param,optional" doc:"For number and offset: the parameter that carries size, where the API has one."`
	Total     string `hcl:"total,optional" doc:"For number and offset: dotted path to the number of all items, which says which page is the last."`
	More      string `hcl:"more,optional" doc:"For number and offset: dotted path to true or false, which says whether there is a next page."`
	Stable    bool   `hcl:"stable,optional" doc:"Pages do not shift when records change meanwhile, so a window need not be read again to be sure."`
}

// Include says where items embed a resource.
type Include struct {
	_ struct{} `doc:"A resource that the items embed, which then need not be fetched. The label is the resource's."`

	Name string `hcl:"name,label"`
	Path string `hcl:"path" doc:"Dotted path in an item to the embedded object, or an array of them."`
	ID   string `hcl:"id" doc:"Dotted path in the embedded object to its identifier, by which it would be fetched."`
}

// Resource is something that is fetched by its identifier.
type Resource struct {
	_ struct{} `doc:"Something that is fetched by its identifier."`

	Name    string            `hcl:"name,label"`
	Path    string            `hcl:"path" doc:"Path below base_url; may hold {id}, or {ids} with a batch."`
	Query   map[string]string `hcl:"query,optional" doc:"Query parameters; values may hold {id}, or {ids} with a batch."`
	Headers map[string]string `hcl:"headers,optional,sensitive" doc:"Further headers, which go before those of the source."`
	ID      string            `hcl:"id,optional" doc:"Dotted path to the identifier in the answer. An answer with another identifier than was asked for, as of a cache that mixes up its answers, is then not taken. Without it whatever is answered is what was asked for."`
	Batch   *Batch            `hcl:"batch,block"`
}

// Batch says how several are fetched by one call.
type Batch struct {
	_ struct{} `doc:"Several are fetched by one call: {ids} in path or query stands for their identifiers."`

	Size      int    `hcl:"size,optional" default:"50" doc:"How many identifiers a call carries at most, up to 1000. A call whose address would be longer than 2048 bytes carries fewer."`
	Separator string `hcl:"separator,optional" default:"," doc:"What stands between the identifiers."`
	Items     string `hcl:"items,optional" doc:"Dotted path to the array of items in the answer. Without it the answer is the array."`
	ID        string `hcl:"id" doc:"Dotted path to an item's identifier, by which it is matched with what was asked for."`
}
