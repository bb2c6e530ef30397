import neostandard from 'neostandard'

export default [
  ...neostandard({ ts: true, ignores: ['**/dist', 'coverage', '.tap', '.demo', 'node_modules'] }),
  // Functions are named for what they do, also those that are given to a component
  { files: ['**/*.tsx'], rules: { 'react/jsx-handler-names': 'off' } }
]
