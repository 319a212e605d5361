// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package web

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"errors"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"github.com/rounds-engine/rounds/engine/operate"
)

const (
	sessionLife = 12 * time.Hour
	linkLife    = 2 * time.Minute
	maxSessions = 64   // the oldest goes
	maxLinks    = 16   // the oldest goes
	maxCallers  = 4096 // of which wrong tokens are remembered
	burst       = 5    // wrong tokens of one address at once
	again       = 10 * time.Second
)

var (
	errNobody   = errors.New("a session or the token is needed")
	errWrong    = errors.New("that is not the token of this engine")
	errTooOften = errors.New("too many wrong tokens came from this address: wait a minute")
	errLink     = &operate.Error{Kind: operate.ErrNotFound, Text: "This link was used, or is older than two minutes. Ask for another: rounds web"}
)

// doors are the ways in: the token, and links for who may open the admin socket. Sessions are kept in memory only.
type doors struct {
	token [sha256.Size]byte
	has   bool // there is a token

	mu       sync.Mutex
	sessions map[[sha256.Size]byte]*session // by the hash of what the cookie holds, as are links
	links    map[[sha256.Size]byte]link
	wrong    map[netip.Addr]*rate.Limiter
}

// session is who looks.
type session struct {
	actor string // for the audit log
	until time.Time
	flash string // shown on the next page, once
}

type link struct {
	actor string // who asked for it
	until time.Time
}

func newDoors(token string) *doors {
	return &doors{
		token: sha256.Sum256([]byte(token)), has: token != "",
		sessions: map[[sha256.Size]byte]*session{}, links: map[[sha256.Size]byte]link{}, wrong: map[netip.Addr]*rate.Limiter{},
	}
}

// check says whether a token is the one, as often as a person may mistype it.
func (d *doors) check(r *http.Request, token string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	caller := d.caller(r)
	if caller.Tokens() < 1 {
		return errTooOften
	}
	sum := sha256.Sum256([]byte(token))
	if !d.has || subtle.ConstantTimeCompare(sum[:], d.token[:]) != 1 {
		caller.Allow()
		return errWrong
	}
	return nil
}

// caller counts the wrong tokens of an address, or of what one customer of a network has for addresses.
func (d *doors) caller(r *http.Request) *rate.Limiter {
	addr, _ := netip.ParseAddr(remote(r)) // the zero address stands for those without
	if addr = addr.Unmap().WithZone(""); addr.Is6() {
		prefix, _ := addr.Prefix(64) // it has one
		addr = prefix.Addr()
	}
	c := d.wrong[addr]
	if c == nil {
		if len(d.wrong) >= maxCallers {
			clear(d.wrong)
		}
		c = rate.NewLimiter(rate.Every(again), burst)
		d.wrong[addr] = c
	}
	return c
}

// who says who asks: by the cookie of a session, or by the token itself.
func (d *doors) who(r *http.Request) (*session, error) {
	if token, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer "); ok {
		if err := d.check(r, token); err != nil {
			return nil, err
		}
		return &session{actor: "token without a session"}, nil
	}
	c, err := r.Cookie(cookieName(r))
	if err != nil {
		return nil, errNobody
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	s := d.sessions[sha256.Sum256([]byte(c.Value))]
	if s == nil || time.Now().After(s.until) {
		return nil, errNobody
	}
	return s, nil
}

// cookieName holds the port, since a browser's cookies don't: two engines on one machine would end each other's sessions.
func cookieName(r *http.Request) string { return "rounds-" + (&url.URL{Host: r.Host}).Port() }

// begin makes a session and hands over its cookie.
func (d *doors) begin(w http.ResponseWriter, r *http.Request, secure bool, how string) {
	secret := rand.Text()
	sum := sha256.Sum256([]byte(secret))
	d.mu.Lock()
	evict(d.sessions, maxSessions, func(s *session) time.Time { return s.until })
	d.sessions[sum] = &session{actor: how + ", session " + hex.EncodeToString(sum[:4]), until: time.Now().Add(sessionLife)}
	d.mu.Unlock()
	http.SetCookie(w, &http.Cookie{
		Name: cookieName(r), Value: secret, Path: "/", MaxAge: int(sessionLife.Seconds()), HttpOnly: true, Secure: secure, SameSite: http.SameSiteStrictMode,
	})
}

// end forgets a session.
func (d *doors) end(w http.ResponseWriter, r *http.Request) {
	if c, err := r.Cookie(cookieName(r)); err == nil {
		d.mu.Lock()
		delete(d.sessions, sha256.Sum256([]byte(c.Value)))
		d.mu.Unlock()
	}
	http.SetCookie(w, &http.Cookie{Name: cookieName(r), Path: "/", MaxAge: -1, HttpOnly: true, SameSite: http.SameSiteStrictMode})
}

// offer makes what opens the page once.
func (d *doors) offer(actor string) (code string) {
	code = rand.Text()
	d.mu.Lock()
	defer d.mu.Unlock()
	evict(d.links, maxLinks, func(l link) time.Time { return l.until })
	d.links[sha256.Sum256([]byte(code))] = link{actor, time.Now().Add(linkLife)}
	return code
}

// use takes what opens the page once.
func (d *doors) use(code string) (actor string, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	sum := sha256.Sum256([]byte(code))
	l, ok := d.links[sum]
	delete(d.links, sum)
	if !ok || time.Now().After(l.until) {
		return "", errLink
	}
	return l.actor, nil
}

// evict makes room for one: what is over goes, and else what ends first.
func evict[K comparable, V any](m map[K]V, most int, until func(V) time.Time) {
	now := time.Now()
	var first K
	var found bool
	for k, v := range m {
		if now.After(until(v)) {
			delete(m, k)
		} else if !found || until(v).Before(until(m[first])) {
			first, found = k, true
		}
	}
	if len(m) >= most {
		delete(m, first)
	}
}

func (d *doors) leave(s *session, flash string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	s.flash = flash
}

func (d *doors) take(s *session) (flash string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	flash, s.flash = s.flash, ""
	return flash
}

// Link makes a path that opens the page once, within two minutes, for who asks for it.
func (s *Site) Link(actor string) string {
	return "/open?" + url.Values{"code": {s.doors.offer(actor)}}.Encode()
}

type loginPage struct {
	Token bool // there is one
	Next  string
	Error string
}

func (s *Site) loginForm(_ http.ResponseWriter, r *http.Request) (view, error) {
	if _, err := s.doors.who(r); err == nil {
		return view{To: "/"}, nil
	}
	return view{Template: "login", Title: "Log in", Data: loginPage{Token: s.doors.has, Next: local(r.URL.Query().Get("next"))}}, nil
}

// local is a path of this site, or "/": nobody is sent elsewhere by a link to the login.
func local(next string) string {
	u, err := url.Parse(next)
	if err != nil || u.Scheme != "" || u.Host != "" || !strings.HasPrefix(next, "/") || strings.HasPrefix(next, "//") || strings.Contains(next, `\`) {
		return "/"
	}
	return next
}

func (s *Site) login(w http.ResponseWriter, r *http.Request) (view, error) {
	f, err := form(r)
	if err != nil {
		return view{}, err
	}
	next := local(f.Get("next"))
	if err := s.doors.check(r, f.Get("token")); err != nil {
		if errors.Is(err, errWrong) { // those that are too many would fill the log
			s.o.Logger.Warn("a wrong token was given to the web page", "from", remote(r))
		}
		return view{
			Template: "login", Title: "Log in", Status: status(err, http.StatusUnauthorized), Data: loginPage{Token: s.doors.has, Next: next, Error: err.Error()},
		}, nil
	}
	s.doors.begin(w, r, s.o.TLS, "token")
	s.o.Logger.Info("the web page was opened by its token", "from", remote(r))
	return view{To: next}, nil
}

// linkForm asks before a link is used up: a browser or a program that looks ahead does not press buttons.
func (s *Site) linkForm(_ http.ResponseWriter, r *http.Request) (view, error) {
	return view{Template: "open", Title: "Open", Data: r.URL.Query().Get("code")}, nil
}

func (s *Site) openLink(w http.ResponseWriter, r *http.Request) (view, error) {
	f, err := form(r)
	if err != nil {
		return view{}, err
	}
	actor, err := s.doors.use(f.Get("code"))
	if err != nil {
		return view{}, err
	}
	s.doors.begin(w, r, s.o.TLS, "link for "+actor)
	s.o.Logger.Info("the web page was opened by a link", "by", actor, "from", remote(r))
	return view{To: "/"}, nil
}

func (s *Site) logout(w http.ResponseWriter, r *http.Request) (view, error) {
	s.doors.end(w, r)
	return view{To: "/login"}, nil
}
