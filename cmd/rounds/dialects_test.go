// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0

package main_test

import (
	"cmp"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// office is the clinic behind all dialects of the cookbook: visits of five patients, and a clock of its own.
type office struct {
	t    *testing.T
	unit time.Duration // of the times that it tells

	mu     sync.Mutex
	ahead  time.Duration // of its clock to that of the machine
	visits []visit
	lists  int // that were read to their end
	views  int // of what a list shows
	onPage func(from int)
}

type visit struct {
	number, revision int
	updated          time.Time
	gone             bool
}

const (
	officeVisits = 23 // not a multiple of the recipes' pages
	officePage   = 10
)

func (v visit) id() string      { return fmt.Sprint("c4n4ry-v-", v.number) }
func (v visit) patient() string { return fmt.Sprint("c4n4ry-p-", v.number%5) }
func (v visit) reason() string  { return fmt.Sprint("reason ", v.revision) }

// nameOf is the name of a patient or provider.
func nameOf(id string) string { return "Name of " + id }

func newOffice(t *testing.T, unit time.Duration) *office {
	o := &office{t: t, unit: unit}
	for n := range officeVisits {
		o.visits = append(o.visits, visit{number: n, updated: time.Now().Add(-time.Hour).Truncate(unit)})
	}
	return o
}

// do runs f while nobody is answered.
func (o *office) do(f func()) {
	o.mu.Lock()
	defer o.mu.Unlock()
	f()
}

func (o *office) now() time.Time { return time.Now().Add(o.ahead) }

// touch makes a new revision of a visit.
func (o *office) touch(n int, at time.Time) {
	o.visits[n].revision++
	o.visits[n].updated = at.Truncate(o.unit)
}

// changed is what changed since an instant, inclusive, oldest first.
func (o *office) changed(since time.Time) []visit {
	var found []visit
	for _, v := range o.visits {
		if !v.gone && !v.updated.Before(since) {
			found = append(found, v)
		}
	}
	slices.SortStableFunc(found, func(a, b visit) int { return cmp.Or(a.updated.Compare(b.updated), a.number-b.number) })
	return found
}

// page is a part of a list. Whoever asks for more after the last page has not understood that it was the last.
func (o *office) page(all []visit, from int) []visit {
	if from > 0 && from >= len(all) {
		o.t.Errorf("asked for items from %d on, of %d", from, len(all))
	}
	if o.onPage != nil {
		o.onPage(from)
	}
	from = min(from, len(all))
	to := min(from+officePage, len(all))
	if to == len(all) {
		o.lists++
	}
	return all[from:to]
}

// object is JSON.
type object map[string]any

// each makes items of visits; never null.
func each(visits []visit, item func(visit) object) []object {
	items := make([]object, 0, len(visits))
	for _, v := range visits {
		items = append(items, item(v))
	}
	return items
}

// request is one that an office answers.
type request struct {
	*http.Request
	t *testing.T
}

func (r request) query(name string) string { return r.URL.Query().Get(name) }

// number reads a number that stands there if ok.
func (r request) number(text string, otherwise int) int {
	if text == "" {
		return otherwise
	}
	n, err := strconv.Atoi(text)
	if err != nil {
		r.t.Errorf("%s: a number is expected, not %q", r.URL, text)
	}
	return n
}

// instant reads a time.
func (r request) instant(text, layout, zone string) time.Time {
	where, err := time.LoadLocation(zone)
	if err != nil {
		r.t.Error(err)
	}
	at, err := time.ParseInLocation(layout, text, where)
	if err != nil {
		r.t.Errorf("%s: a time like %s is expected, not %q", r.URL, layout, text)
	}
	return at
}

// basic says whether the request is by the user of the recipes.
func (r request) basic() bool {
	user, password, _ := r.BasicAuth()
	return user == "rounds" && password == "c4n4ry-secret"
}

func (r request) has(header, value string) bool { return r.Header.Get(header) == value }

// answer is a status, or a value that is JSON.
type answer func(r request) any

// handler answers by the routes of a dialect, each a pattern of http.ServeMux; allowed says who may ask.
func (o *office) handler(allowed func(request) bool, routes map[string]answer) http.Handler {
	mux := http.NewServeMux()
	for pattern, f := range routes {
		mux.HandleFunc(pattern, func(w http.ResponseWriter, q *http.Request) {
			o.mu.Lock()
			defer o.mu.Unlock()
			w.Header().Set("Date", o.now().UTC().Format(http.TimeFormat))
			r := request{q, o.t}
			if !allowed(r) {
				w.WriteHeader(http.StatusUnauthorized)
				return
			}
			switch a := f(r).(type) {
			case int:
				w.WriteHeader(a)
			case linked:
				if a.next != "" {
					w.Header().Set("Link", `<`+a.next+`>; rel="next", </appointments>; rel="first"`)
				}
				_ = json.NewEncoder(w).Encode(a.items)
			default:
				_ = json.NewEncoder(w).Encode(a)
			}
		})
	}
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		o.t.Errorf("nothing answers %s %s", r.Method, r.URL)
		w.WriteHeader(http.StatusNotFound)
	})
	return mux
}

// linked is a list with the address of the next page in a header.
type linked struct {
	items []object
	next  string
}

// named answers with an id and a name, as most dialects do.
func named(r request) any { return object{"id": r.PathValue("id"), "name": nameOf(r.PathValue("id"))} }

// dialects are the APIs of the cookbook, by the directory of the recipe.
var dialects = map[string]func(o *office) http.Handler{
	"changed-since": func(o *office) http.Handler {
		const layout, zone = "2006-01-02T15:04:05", "America/New_York"
		return o.handler(func(r request) bool { return r.has("Authorization", "Bearer c4n4ry-secret") }, map[string]answer{
			"GET /appointments": func(r request) any {
				where, _ := time.LoadLocation(zone) // instant tells if it fails
				all := o.changed(r.instant(r.query("changedsince"), layout, zone))
				o.lists++
				return each(all, func(v visit) object {
					return object{"id": v.id(), "lastUpdated": v.updated.In(where).Format(layout), "reason": v.reason(),
						"start": "2026-07-14T09:30:00", "patientID": v.patient()}
				})
			},
			"GET /patient/{id}": named,
		})
	},
	"next-address": func(o *office) http.Handler {
		return o.handler(func(r request) bool {
			return r.URL.Path == "/oauth2/token" || r.has("Authorization", "Bearer c4n4ry-token")
		}, map[string]answer{
			"POST /oauth2/token": func(r request) any {
				if !r.basic() || r.PostFormValue("grant_type") != "client_credentials" ||
					r.PostFormValue("scope") != "appointments.read patients.read" {
					return http.StatusUnauthorized
				}
				return object{"access_token": "c4n4ry-token", "token_type": "Bearer", "expires_in": 3600}
			},
			"GET /appointments/": func(r request) any {
				since := r.query("last_modified__gte")
				all := o.changed(r.instant(since, time.RFC3339, "UTC"))
				from := r.number(r.query("offset"), 0)
				body := object{"count": len(all), "next": nil, "results": each(o.page(all, from), func(v visit) object {
					by := "front desk"
					if v.number%7 == 6 {
						by = "interface-user"
					}
					return object{"id": v.id(), "last_modified": v.updated.UTC().Format(time.RFC3339), "reason": v.reason(),
						"modified_by": by, "patient": v.patient()}
				})}
				if from+officePage < len(all) {
					body["next"] = fmt.Sprintf("/appointments/?last_modified__gte=%s&limit=10&offset=%d", since, from+officePage)
				}
				return body
			},
			"GET /patients/{id}/": func(r request) any {
				first, last, _ := strings.Cut(nameOf(r.PathValue("id")), " ")
				return object{"first_name": first, "last_name": last}
			},
		})
	},
	"page-numbers": func(o *office) http.Handler {
		return o.handler(func(r request) bool { return r.query("api_key") == "c4n4ry-secret" }, map[string]answer{
			"GET /appointments": func(r request) any {
				if r.query("per_page") != "10" || r.query("sort") != "updated" {
					o.t.Errorf("asked for %s", r.URL)
				}
				all := o.changed(time.Unix(int64(r.number(r.query("updated_after"), 0)), 0))
				return object{"data": each(o.page(all, officePage*(r.number(r.query("page"), 0)-1)), func(v visit) object {
					return object{"id": v.id(), "updated": v.updated.Unix(), "reason": v.reason(), "patient_id": v.patient()}
				})}
			},
			"GET /patients/{id}": func(r request) any { return object{"data": named(r)} },
		})
	},
	"link-header": func(o *office) http.Handler {
		return o.handler(request.basic, map[string]answer{
			"GET /appointments": func(r request) any {
				since := r.number(r.query("modifiedSince"), 0)
				all := o.changed(time.UnixMilli(int64(since)))
				from := r.number(r.query("after"), 0)
				a := linked{items: each(o.page(all, from), func(v visit) object {
					return object{"uuid": v.id(), "audit": object{"version": v.revision, "changed": v.updated.UnixMilli()},
						"reason": v.reason(), "patient": object{"uuid": v.patient()}, "provider": "c4n4ry-d-" + strconv.Itoa(v.number%2)}
				})}
				if from+officePage < len(all) {
					a.next = fmt.Sprintf("/appointments?modifiedSince=%d&pageSize=10&after=%d", since, from+officePage)
				}
				return a
			},
			"GET /patients/{id}": func(r request) any {
				if r.PathValue("id") == "c4n4ry-p-4" {
					return http.StatusNotFound
				}
				return object{"display": nameOf(r.PathValue("id"))}
			},
			"GET /providers/{id}": func(r request) any {
				if r.PathValue("id") == "c4n4ry-d-1" {
					return http.StatusForbidden
				}
				return object{"display": nameOf(r.PathValue("id"))}
			},
		})
	},
	"search-by-post": func(o *office) http.Handler {
		return o.handler(func(r request) bool { return r.has("X-Api-Key", "c4n4ry-secret") }, map[string]answer{
			"POST /results/search": func(r request) any {
				var asked struct {
					Filter struct {
						UpdatedFrom string
						Status      []string
					}
					Sort   string
					Paging struct{ From, Size int }
				}
				if err := json.NewDecoder(r.Body).Decode(&asked); err != nil || len(asked.Filter.Status) != 2 || asked.Paging.Size != officePage {
					o.t.Errorf("asked with %+v, %v", asked, err)
				}
				all := o.changed(r.instant(asked.Filter.UpdatedFrom, time.RFC3339Nano, "UTC"))
				return object{"total": len(all), "hits": each(o.page(all, asked.Paging.From), func(v visit) object {
					order := object{"mrn": v.patient(), "reason": v.reason()}
					if v.number%5 != 2 {
						order["patient"] = object{"mrn": v.patient(), "name": nameOf(v.patient())}
					}
					return object{"number": v.id(), "revision": v.revision, "updated": v.updated.UTC().Format(time.RFC3339Nano), "order": order}
				})}
			},
			"GET /patients": func(r request) any {
				var found []object
				for id := range strings.SplitSeq(r.query("mrn"), ",") {
					if id != "c4n4ry-p-2" {
						o.t.Errorf("a patient was asked for who came with the results")
					}
					found = append(found, object{"mrn": id, "name": nameOf(id)})
				}
				return object{"patients": found}
			},
		})
	},
	"graphql": func(o *office) http.Handler {
		return o.handler(func(r request) bool {
			return r.has("Authorization", "Basic c4n4ry-secret") && r.has("X-Key-Source", "API")
		}, map[string]answer{
			"POST /graphql": func(r request) any {
				var asked struct {
					Query     string
					Variables struct{ Since, After string }
				}
				if err := json.NewDecoder(r.Body).Decode(&asked); err != nil || !strings.HasPrefix(asked.Query, "query Changed(") {
					o.t.Errorf("asked with %+v, %v", asked, err)
				}
				all := o.changed(r.instant(asked.Variables.Since, time.RFC3339, "UTC"))
				from := r.number(asked.Variables.After, 0)
				var end any // null where there is nothing: only then a list has been read to its end
				part := all[min(from, len(all)):min(from+officePage, len(all))]
				if len(part) > 0 {
					end = strconv.Itoa(from + len(part))
				} else {
					o.lists++
				}
				return object{"data": object{"appointments": object{"pageInfo": object{"endCursor": end},
					"nodes": each(part, func(v visit) object {
						return object{"id": v.id(), "updatedAt": v.updated.UTC().Format(time.RFC3339), "reason": v.reason(),
							"patient": object{"id": v.patient(), "name": nameOf(v.patient())}}
					})}}}
			},
		})
	},
	"scan": func(o *office) http.Handler {
		slot := func(v visit) object {
			o.views++
			return object{"id": v.id(), "reason": v.reason(), "patientName": nameOf(v.patient()), "views": o.views,
				"room": object{"name": "A", "lastCleaned": o.now()}}
		}
		return o.handler(request.basic, map[string]answer{
			"GET /slots": func(r request) any {
				all := o.changed(time.Time{})
				from := officePage * (r.number(r.query("page"), 0) - 1)
				return object{"slots": each(o.page(all, from), slot), "hasMore": from+officePage < len(all)}
			},
			"GET /slots/{id}": func(r request) any {
				for _, v := range o.changed(time.Time{}) {
					if v.id() == r.PathValue("id") {
						return slot(v)
					}
				}
				return http.StatusGone
			},
		})
	},
	"parents": func(o *office) http.Handler {
		order := func(v visit) object {
			return object{"number": v.id(), "revision": v.revision, "updated": v.updated.UTC().Format(time.RFC3339), "reason": v.reason()}
		}
		return o.handler(func(r request) bool { return r.has("Authorization", "Bearer c4n4ry-secret") }, map[string]answer{
			"GET /patients": func(r request) any {
				last := map[string]time.Time{}
				for _, v := range o.changed(r.instant(r.query("ordersChangedSince"), time.RFC3339, "UTC")) {
					last[v.patient()] = v.updated
				}
				patients := []object{}
				for id, at := range last {
					patients = append(patients, object{"id": id, "ordersChanged": at.UTC().Format(time.RFC3339)})
				}
				o.lists++
				return patients
			},
			"GET /patients/{id}/orders": func(r request) any {
				all := o.changed(time.Time{})
				all = slices.DeleteFunc(all, func(v visit) bool { return v.patient() != r.PathValue("id") })
				return object{"orders": each(all, order)}
			},
			"GET /patients/{id}": named,
		})
	},
	"login": func(o *office) http.Handler {
		const layout, zone = "01/02/2006 15:04:05", "America/Chicago"
		return o.handler(func(r request) bool {
			return r.has("X-Clinic", "0042") && (r.URL.Path == "/session" || r.has("X-Session", "c4n4ry-token"))
		}, map[string]answer{
			"POST /session": func(r request) any {
				var asked struct{ User, Password string }
				if err := json.NewDecoder(r.Body).Decode(&asked); err != nil || asked.User != "rounds" || asked.Password != "c4n4ry-secret" {
					return http.StatusUnauthorized
				}
				return object{"session": object{"token": "c4n4ry-token", "seconds": 900}}
			},
			"GET /changes": func(r request) any {
				where, _ := time.LoadLocation(zone) // instant tells if it fails
				all := o.changed(r.instant(r.query("from"), layout, zone))
				from := r.number(r.query("token"), 0)
				body := object{"changes": each(o.page(all, from), func(v visit) object {
					change := object{"appointment": v.id(), "stamp": v.revision, "changedAt": v.updated.In(where).Format(layout),
						"reason": v.reason(), "patient": v.patient(), "status": 1 + v.number%2}
					if v.number%11 == 10 {
						change["patient"] = nil
					}
					if v.number%6 == 5 {
						change["status"] = 7
					}
					return change
				})}
				if from+officePage < len(all) {
					body["more"] = object{"token": from + officePage}
				}
				return body
			},
			"GET /patients/{id}": named,
		})
	},
	"thin-list": func(o *office) http.Handler {
		return o.handler(func(r request) bool {
			return len(r.TLS.PeerCertificates) == 1 && r.TLS.PeerCertificates[0].Subject.CommonName == "rounds"
		}, map[string]answer{
			"GET /changed-appointments": func(r request) any {
				all := o.changed(r.instant(r.query("since"), time.RFC3339Nano, "UTC"))
				o.lists++
				return object{"changed": each(all, func(v visit) object {
					return object{"id": v.id(), "etag": fmt.Sprintf("W/%d", v.revision), "at": v.updated.UTC().Format(time.RFC3339Nano)}
				})}
			},
			"GET /appointments/{ids}": func(r request) any {
				found := []object{}
				for id := range strings.SplitSeq(r.PathValue("ids"), ";") {
					for _, v := range o.visits {
						if v.id() == id {
							people := []object{{"person": v.patient()}, {"person": fmt.Sprint("c4n4ry-d-", v.number%2)}}
							found = append(found, object{"id": id, "reason": v.reason(), "participants": people})
						}
					}
				}
				slices.Reverse(found)
				return found
			},
			"GET /persons/{id}": named,
		})
	},
}
