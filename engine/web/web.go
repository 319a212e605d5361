// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

// Package web is the page of an engine, for a browser: what operate.Engine lists, rendered on the server. All that it shows is behind
// a session; who looks is told to the engine by operate.As, and the engine writes looks at content of records down.
//
// No URL of it holds content of a record. Notifications and dead letters are named by their ids, which are hashes, and records by
// their names in logs; what a person searches for travels in the body of a POST.
package web

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"runtime/debug"
	"time"

	"github.com/rounds-engine/rounds/engine/operate"
)

// Options says who may have the page.
type Options struct {
	Token   string                 // opens the page; empty: only links do
	TLS     bool                   // it is served over HTTPS
	Host    func(name string) bool // whether a DNS name, other than localhost, is one of this page's; nil: none is
	Samples *Samples               // what the charts show
	Logger  *slog.Logger
}

// Site is the page of one engine.
type Site struct {
	engine operate.Engine
	o      Options
	doors  *doors
	mux    *http.ServeMux
	serve  http.Handler
}

// New makes the page of an engine.
func New(e operate.Engine, o Options) *Site {
	s := &Site{engine: e, o: o, doors: newDoors(o.Token), mux: http.NewServeMux()}
	s.mux.HandleFunc("GET /assets/{name}", serveAsset)
	s.public("GET /login", s.loginForm)
	s.public("POST /login", s.login)
	s.public("GET /open", s.linkForm)
	s.public("POST /open", s.openLink)
	s.public("POST /logout", s.logout)
	s.page("GET /{$}", s.overview)
	s.page("POST /reload", s.reload)
	s.page("GET /pipelines/{name}", s.pipeline)
	s.page("GET /destinations/{name}", s.destination)
	s.page("POST /poll", s.poll)
	s.page("POST /pause", s.pause)
	s.page("POST /resume", s.resume)
	s.page("GET /dead", s.deadLetters)
	s.page("POST /dead", s.deadLetters)
	s.page("GET /dead/{id}", s.deadLetter)
	s.page("POST /dead/confirm", s.confirm)
	s.page("POST /dead/do", s.handle)
	s.page("GET /notifications", s.notifications)
	s.page("POST /notifications", s.notifications)
	s.page("GET /notifications/{id}", s.notification)
	s.page("GET /records", s.records)
	s.page("POST /records", s.findRecord)
	s.page("GET /records/{name}", s.trace)
	s.page("GET /playground", s.playground)
	s.page("POST /playground", s.try)
	s.page("/", func(http.ResponseWriter, *http.Request, *session) (view, error) {
		return view{}, &operate.Error{Kind: operate.ErrNotFound, Text: "There is no such page."}
	})
	foreign := http.NewCrossOriginProtection()
	foreign.SetDenyHandler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		http.Error(w, "This was sent from the page of another site, so it is refused.", http.StatusForbidden)
	}))
	s.serve = foreign.Handler(s.mux)
	return s
}

// policy allows what the page is made of: its own files, nothing inline and nothing of others.
const policy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; form-action 'self'; " +
	"frame-ancestors 'none'; base-uri 'none'"

// ServeHTTP implements http.Handler.
func (s *Site) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("Content-Security-Policy", policy)
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Cross-Origin-Opener-Policy", "same-origin")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	h.Set("Cache-Control", "no-store")
	defer func() {
		if v := recover(); v != nil { // net/http would print its value, which may quote a record; a stack holds none
			s.o.Logger.Error("a web page failed by a defect, please report it", "type", fmt.Sprintf("%T", v), "stack", string(debug.Stack()))
			http.Error(w, "This page failed by a defect of Rounds. The log of the engine says where.", http.StatusInternalServerError)
		}
	}()
	if !s.ours(r.Host) {
		http.Error(w, "This page is not known by that name. Ask for it by the address that it listens on, or by a name of its certificate.",
			http.StatusMisdirectedRequest)
		return
	}
	s.serve.ServeHTTP(w, r)
}

// ours says whether the page may be asked for by a name. A name of somebody else that was made to lead here would let the pages
// of that somebody read this one; an address can't be.
func (s *Site) ours(host string) bool {
	name := (&url.URL{Host: host}).Hostname()
	if _, err := netip.ParseAddr(name); err == nil || name == "localhost" {
		return true
	}
	return s.o.Host != nil && s.o.Host(name)
}

// view is what is answered: a page, a part of one, or another address.
type view struct {
	Template string // a file in templates, without its ending
	Part     string // a template in it, which is answered alone; empty: the whole page
	Title    string
	Section  string // of the navigation
	Data     any

	Status int    // 0: 200
	To     string // where to go instead, with Flash
	Flash  string // what came of what was asked for

	Who string // empty: nobody, and there is no navigation
	Now time.Time
}

type handler func(http.ResponseWriter, *http.Request, *session) (view, error)

// public is a page for anybody: nothing of the engine may be in it.
func (s *Site) public(pattern string, do func(http.ResponseWriter, *http.Request) (view, error)) {
	s.mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
		r.Body = http.MaxBytesReader(w, r.Body, 4<<10)
		v, err := do(w, r)
		s.answer(w, r, nil, v, err)
	})
}

const maxBody = 32 << 20 // of a record that is tried, as of the admin socket

// page is one for who has a session, or sends the token along.
func (s *Site) page(pattern string, do handler) {
	s.mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
		who, err := s.doors.who(r)
		if err != nil {
			s.turnAway(w, r, err)
			return
		}
		r = r.WithContext(operate.As(r.Context(), "web page, "+who.actor+", from "+remote(r)))
		r.Body = http.MaxBytesReader(w, r.Body, maxBody)
		v, err := do(w, r, who)
		s.answer(w, r, who, v, err)
	})
}

// turnAway sends who has no session to the login, and back to where they were going.
func (s *Site) turnAway(w http.ResponseWriter, r *http.Request, err error) {
	to := "/login"
	if r.Method == http.MethodGet && r.URL.Path != "/" {
		to += "?" + url.Values{"next": {r.URL.RequestURI()}}.Encode()
	}
	switch {
	case r.Header.Get("HX-Request") != "": // a part of a page that was open for too long
		w.Header().Set("HX-Redirect", "/login")
		w.WriteHeader(http.StatusUnauthorized)
	case r.Header.Get("Authorization") != "":
		w.Header().Set("WWW-Authenticate", "Bearer")
		http.Error(w, err.Error(), status(err, http.StatusUnauthorized))
	case r.Method == http.MethodGet:
		http.Redirect(w, r, to, http.StatusSeeOther)
	default:
		http.Error(w, "Your session has ended, and nothing was done. Log in and do it again.", http.StatusUnauthorized)
	}
}

// remote is the address of the other end, without its port.
func remote(r *http.Request) string {
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		return r.RemoteAddr
	}
	return host
}

// status is the status of an error, or another if nothing is known of it.
func status(err error, other int) int {
	for _, known := range []struct {
		err    error
		status int
	}{
		{operate.ErrNotFound, http.StatusNotFound}, {operate.ErrNotRunning, http.StatusServiceUnavailable},
		{operate.ErrSuperseded, http.StatusConflict}, {operate.ErrInvalid, http.StatusUnprocessableEntity},
		{errTooOften, http.StatusTooManyRequests},
	} {
		if errors.Is(err, known.err) {
			return known.status
		}
	}
	return other
}

func (s *Site) answer(w http.ResponseWriter, r *http.Request, who *session, v view, err error) {
	if who != nil {
		v.Who = who.actor
	}
	if err != nil {
		if errors.Is(err, context.Canceled) {
			return // who asked is gone
		}
		v = view{Template: "error", Title: "It did not work", Status: status(err, http.StatusInternalServerError), Data: shown(err), Who: v.Who}
	}
	if v.To != "" {
		if who != nil && v.Flash != "" {
			s.doors.leave(who, v.Flash)
		}
		http.Redirect(w, r, v.To, http.StatusSeeOther)
		return
	}
	if who != nil && r.Header.Get("HX-Request") == "" { // of what a page asks for by itself, a part is shown at most
		v.Flash = s.doors.take(who)
	}
	v.Now = time.Now()
	var page bytes.Buffer
	if err := render(&page, v); err != nil {
		s.o.Logger.Error("a part of the web page can't be rendered", "page", v.Template) // its error may quote what was rendered
		http.Error(w, "This page can't be rendered; that is a defect of Rounds.", http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	if v.Status != 0 {
		w.WriteHeader(v.Status)
	}
	_, _ = w.Write(page.Bytes()) // who asked may be gone
}

// shown is the text of an error. Those of an engine are made for a person; those of net/http may quote what was sent.
func shown(err error) string {
	var large *http.MaxBytesError
	if errors.As(err, &large) {
		return fmt.Sprintf("What was sent is larger than %d bytes.", large.Limit)
	}
	return err.Error()
}

var errForm = &operate.Error{Kind: operate.ErrInvalid, Text: "What was sent is no form that this page takes."}

// form reads a form: of a POST from its body alone, so that nobody puts into a URL what does not belong there.
func form(r *http.Request) (url.Values, error) {
	if r.Method == http.MethodGet {
		return r.URL.Query(), nil
	}
	if err := r.ParseForm(); err != nil {
		var large *http.MaxBytesError
		if errors.As(err, &large) {
			return nil, err
		}
		return nil, errForm
	}
	return r.PostForm, nil
}
