// SPDX-FileCopyrightText: The Rounds authors
// SPDX-License-Identifier: Apache-2.0
//
// A token server made of oidc-provider: node .ci/token-server.mjs PORT JWKS, where JWKS is a file with the public keys of the client
// "poller". It prints what it issued and refused, a line of JSON each; the first has a refresh token of the client "person".
import fs from 'node:fs';
import { pathToFileURL } from 'node:url';

// ES modules are not looked for in NODE_PATH.
const { default: Provider } = await import(pathToFileURL(`${process.env.NODE_PATH}/oidc-provider/lib/index.js`));
const [port, jwks] = process.argv.slice(2);
const issuer = `http://127.0.0.1:${port}`;
const say = (line) => console.log(JSON.stringify(line));
const machine = { grant_types: ['client_credentials'], redirect_uris: [], response_types: [], scope: 'system/Patient.rs' };

const provider = new Provider(issuer, {
  clients: [
    { client_id: 'poller', token_endpoint_auth_method: 'private_key_jwt', jwks: JSON.parse(fs.readFileSync(jwks, 'utf8')), ...machine },
    { client_id: 'basic:1', client_secret: 's/cret &1', token_endpoint_auth_method: 'client_secret_basic', ...machine },
    { client_id: 'post', client_secret: 's/cret &2', token_endpoint_auth_method: 'client_secret_post', ...machine },
    {
      client_id: 'person', client_secret: 's/cret &3', token_endpoint_auth_method: 'client_secret_basic',
      grant_types: ['authorization_code', 'refresh_token'], response_types: ['code'], redirect_uris: ['https://rounds.invalid/'],
    },
  ],
  scopes: ['openid', 'offline_access', 'system/Patient.rs'],
  features: { clientCredentials: { enabled: true }, devInteractions: { enabled: false }, introspection: { enabled: false } },
  enabledJWA: { clientAuthSigningAlgValues: ['ES384', 'RS384'] },
  ttl: { ClientCredentials: 300, AccessToken: 300, RefreshToken: 86400, Grant: 86400 },
  rotateRefreshToken: true,
  findAccount: (_, id) => ({ accountId: id, claims: () => ({ sub: id }) }),
  cookies: { keys: ['of no use here'] },
});
provider.on('grant.success', (c) => say({ issued: c.oidc.client.clientId }));
provider.on('grant.error', (_, e) => say({ refused: e.error, why: e.error_detail ?? e.error_description }));
provider.on('server_error', (_, e) => say({ broken: String(e) }));

// What a person's login at a browser would have given.
const grant = new provider.Grant({ accountId: 'nurse', clientId: 'person' });
grant.addOIDCScope('openid offline_access');
const refresh = new provider.RefreshToken({
  client: await provider.Client.find('person'), accountId: 'nurse', grantId: await grant.save(), gty: 'authorization_code',
  scope: 'openid offline_access',
});
const token = await refresh.save();
provider.listen(Number(port), '127.0.0.1', () => say({ refresh_token: token }));
