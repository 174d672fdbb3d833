// A real OpenID provider (npm: oidc-provider) for the tests of the `oauth` source: see tests/real/provider.py.
// Reads its configuration as JSON from stdin; serves until killed. What is only the tests' is under /test.
import { createServer } from 'node:http';
import { createServer as createTlsServer } from 'node:https';
import { createRequire } from 'node:module';
import { pathToFileURL } from 'node:url';

const require = createRequire(`${process.cwd()}/`);
const { default: Provider, errors } = await import(pathToFileURL(require.resolve('oidc-provider')));

const chunks = [];
for await (const chunk of process.stdin) chunks.push(chunk);
const wanted = JSON.parse(Buffer.concat(chunks));

const EXCHANGE = 'urn:ietf:params:oauth:grant-type:token-exchange';
const BEARER = 'urn:ietf:params:oauth:grant-type:jwt-bearer';
const API = 'https://gateway.example/';
const life = { access_s: wanted.access_s ?? 3600 };
const counts = { rotations: 0, reuses: 0, tokens: 0, exchanges: [], delay_ms: 0, late_ms: 0 };

const provider = new Provider(wanted.issuer, {
  clients: wanted.clients,
  jwks: wanted.jwks,
  scopes: ['openid', 'offline_access', 'models.read', 'models.write'],
  findAccount: (_ctx, id) => ({ accountId: id, claims: () => ({ sub: id }) }),
  // Every refresh token is good once: whoever shows a used one has the whole grant revoked.
  rotateRefreshToken: true,
  issueRefreshToken: () => true,
  ttl: {
    AccessToken: () => life.access_s,
    ClientCredentials: () => life.access_s,
    IdToken: () => life.access_s,
    RefreshToken: () => 86400,
    Grant: () => 86400,
    Session: () => 86400,
    Interaction: () => 3600,
    DeviceCode: () => wanted.device_s ?? 600,
  },
  clientAuthMethods: ['client_secret_basic', 'client_secret_post', 'private_key_jwt', 'tls_client_auth', 'none'],
  features: {
    clientCredentials: { enabled: true },
    deviceFlow: { enabled: true },
    revocation: { enabled: true },
    introspection: { enabled: true, allowedPolicy: () => true },
    devInteractions: { enabled: false },
    mTLS: {
      enabled: true,
      tlsClientAuth: true,
      getCertificate: (ctx) => ctx.req.socket.getPeerX509Certificate?.(),
      certificateAuthorized: (ctx) => ctx.req.socket.authorized === true,
      certificateSubjectMatches: (ctx, property, expected) =>
        property === 'tls_client_auth_san_dns' &&
        (ctx.req.socket.getPeerX509Certificate()?.subjectAltName ?? '').includes(`DNS:${expected}`),
    },
    resourceIndicators: {
      enabled: true,
      defaultResource: () => undefined,
      useGrantedResource: () => true,
      getResourceServerInfo: (_ctx, resource) => {
        if (resource !== API) throw new errors.InvalidTarget();
        return { scope: 'models.read models.write', accessTokenFormat: 'jwt', accessTokenTTL: life.access_s };
      },
    },
  },
  interactions: { url: (_ctx, interaction) => `/interaction/${interaction.uid}` },
});

// RFC 8693 and RFC 7523 as far as a client can tell: the token that is shown must be one of this provider's own.
for (const [grant, name] of [[EXCHANGE, 'subject_token'], [BEARER, 'assertion']]) {
  provider.registerGrantType(
    grant,
    async (ctx) => {
      const shown = await provider.AccessToken.find(ctx.oidc.params[name])
        ?? await provider.ClientCredentials.find(ctx.oidc.params[name]);
      if (!shown) throw new errors.InvalidGrant(`the ${name} is none of ours`);
      const { client } = ctx.oidc;
      const token = new provider.ClientCredentials({ client, scope: ctx.oidc.params.scope });
      counts.exchanges.push({ ...ctx.oidc.params });
      ctx.body = {
        access_token: await token.save(),
        issued_token_type: 'urn:ietf:params:oauth:token-type:access_token',
        token_type: 'Bearer',
        expires_in: token.expiration,
        scope: token.scope,
      };
    },
    [
      'scope', 'audience', 'resource', 'subject_token', 'subject_token_type', 'actor_token', 'actor_token_type',
      'requested_token_type', 'assertion',
    ],
  );
}

// A person who agrees to everything.
provider.use(async (ctx, next) => {
  if (!ctx.path.startsWith('/interaction/')) return next();
  const { params } = await provider.interactionDetails(ctx.req, ctx.res);
  const grant = new provider.Grant({ accountId: 'me', clientId: params.client_id });
  grant.addOIDCScope(params.scope ?? 'openid');
  grant.addResourceScope(API, params.scope ?? '');
  const result = { login: { accountId: 'me' }, consent: { grantId: await grant.save() } };
  return provider.interactionFinished(ctx.req, ctx.res, result, { mergeWithLastSubmission: true });
});

// Else every sign-in by a device code takes five seconds (RFC 8628, 3.2).
provider.use(async (ctx, next) => {
  await next();
  if (ctx.body?.device_code) ctx.body.interval = 1;
});

provider.on('grant.success', (ctx) => {
  counts.tokens += 1;
  if (ctx.oidc.entities.RotatedRefreshToken) counts.rotations += 1;
});
provider.on('grant.error', (_ctx, error) => {
  if (error.error_description === 'refresh token already used' || error.error_detail === 'refresh token already used') counts.reuses += 1;
});

async function ours(request, response) {
  const { pathname, searchParams } = new URL(request.url, wanted.issuer);
  for (const [name, value] of searchParams) {
    if (name === 'access_s') life.access_s = Number(value);
    if (name === 'delay_ms') counts.delay_ms = Number(value);
    if (name === 'late_ms') counts.late_ms = Number(value);
  }
  let body = counts;
  if (pathname === '/test/alive') {
    const found = await provider.AccessToken.find(searchParams.get('token')) ?? await provider.ClientCredentials.find(searchParams.get('token'));
    body = { alive: Boolean(found) };
  }
  response.setHeader('Content-Type', 'application/json');
  response.end(JSON.stringify(body));
}

const callback = provider.callback();
async function handle(request, response) {
  if (request.url.startsWith('/test')) return ours(request, response);
  if (request.url === '/token' && (counts.delay_ms || counts.late_ms)) {
    // The answer is late, after the provider has spent what it was shown.
    const { end } = response;
    response.end = (...rest) => { setTimeout(() => end.apply(response, rest), counts.late_ms + Math.random() * counts.delay_ms); return response; };
  }
  return callback(request, response);
}

const server = wanted.tls ? createTlsServer({ ...wanted.tls, requestCert: true, rejectUnauthorized: false }, handle) : createServer(handle);
server.listen(Number(new URL(wanted.issuer).port), '127.0.0.1');
