import neostandard from 'neostandard'

export default [
  ...neostandard({ ts: true, ignores: ['**/dist', 'coverage', '.tap', '.demo', 'node_modules'] }),
  { files: ['plugin/**', 'routes/**', 'client/**'], rules: { '@stylistic/max-len': ['error', { code: 120 }] } },
  // Functions are named for what they do, also those that are given to a component
  { files: ['**/*.tsx'], rules: { 'react/jsx-handler-names': 'off' } }
]
