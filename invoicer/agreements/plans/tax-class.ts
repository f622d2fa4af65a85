/** What is sold, as a tenant names it for its tax: 'saas', 'training'. A pattern of JSON Schema. */
export const TAX_CLASS = '^[a-z0-9][a-z0-9_-]{0,63}$'
